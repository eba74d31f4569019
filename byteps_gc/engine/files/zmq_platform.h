// The results of libzmq's configure script on Linux with glibc 2.17 or newer, and the parts of libzmq that we build.
//
// The I/O threads wait with epoll. CURVE is libsodium's. WebSockets, PGM, NORM, TIPC, VMCI and GSSAPI are left out.
#ifndef BYTEPS_GC_ZMQ_PLATFORM_H
#define BYTEPS_GC_ZMQ_PLATFORM_H

#include <features.h>

#define ZMQ_HAVE_LINUX
#define ZMQ_CACHELINE_SIZE 64

#define ZMQ_HAVE_CURVE
#define ZMQ_USE_LIBSODIUM

#define ZMQ_IOTHREAD_POLLER_USE_EPOLL
#define ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC
#define ZMQ_POLL_BASED_ON_POLL
#define ZMQ_USE_CV_IMPL_PTHREADS

#define ZMQ_HAVE_IPC
#define ZMQ_HAVE_SO_PEERCRED
#define ZMQ_HAVE_EVENTFD
#define ZMQ_HAVE_EVENTFD_CLOEXEC
#define ZMQ_HAVE_O_CLOEXEC
#define ZMQ_HAVE_SOCK_CLOEXEC
#define ZMQ_HAVE_SO_BINDTODEVICE
#define ZMQ_HAVE_SO_KEEPALIVE
#define ZMQ_HAVE_SO_PRIORITY
#define ZMQ_HAVE_TCP_KEEPCNT
#define ZMQ_HAVE_TCP_KEEPIDLE
#define ZMQ_HAVE_TCP_KEEPINTVL
#define ZMQ_HAVE_IFADDRS
#define ZMQ_HAVE_UIO
#define ZMQ_HAVE_NOEXCEPT
#define ZMQ_HAVE_PTHREAD_SETNAME_2
#define ZMQ_HAVE_PTHREAD_SET_AFFINITY
#if __GLIBC_PREREQ(2, 38)
#define ZMQ_HAVE_STRLCPY
#endif

#define HAVE_ACCEPT4
#define HAVE_CLOCK_GETTIME
#define HAVE_FORK
#define HAVE_IF_NAMETOINDEX
#define HAVE_MKDTEMP
#define HAVE_POSIX_MEMALIGN 1
#define HAVE_STRNLEN

#endif  // BYTEPS_GC_ZMQ_PLATFORM_H
