// The job's secret, and the authentication of connections with it.
//
// The secret is a CURVE key (https://rfc.zeromq.org/spec/26) that only the processes of the job have. All of them use
// it both as the key of a server and as that of a client: a server's ZAP handler (https://rfc.zeromq.org/spec/27)
// accepts a client only if it has proved that it has the same key. Cryptography is ZeroMQ's and libsodium's.
//
//   BYTEPS_GC_SECRET_FILE   file with the secret key, 40 characters of Z85; without it, every connection is accepted
//   BYTEPS_GC_ENCRYPT       0: gradients are not encrypted, and a worker sends a server the token that it has received
//                           from the scheduler, encrypted (default: 1)
#ifndef BYTEPS_GC_SECRET_H
#define BYTEPS_GC_SECRET_H

#include <sys/random.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <thread>

#include "./byteps_gc_zmq_socket.h"

namespace ps {

class Secret {
 public:
  static constexpr size_t kToken = 32;  // characters of a server's token

  // Reads the file once; an invalid file ends the process.
  static const Secret& Get() {
    static const Secret secret;
    return secret;
  }

  bool exists() const { return !key_.empty(); }
  // Whether messages between workers and servers are encrypted.
  bool encrypts() const { return encrypts_; }
  const std::string& bytes() const { return bytes_; }

  // A random token of a server, in hexadecimal digits.
  static std::string Token() {
    unsigned char random[kToken / 2];
    CHECK_EQ(getrandom(random, sizeof random, 0), static_cast<ssize_t>(sizeof random)) << strerror(errno);
    std::string text;
    char digits[3];
    for (unsigned char one : random) {
      snprintf(digits, sizeof digits, "%02x", one);
      text += digits;
    }
    return text;
  }

  // Sets the options of a socket before it is bound. token: what clients have to send if nothing is encrypted.
  void Guard(Socket* socket, const std::string& token = "") const {
    socket->Set(ZMQ_ZAP_DOMAIN, "byteps_gc");  // also rejects protocols older than ZMTP 3
    if (!exists()) return;
    if (!token.empty()) return socket->Set(ZMQ_PLAIN_SERVER, 1);
    socket->Set(ZMQ_CURVE_SERVER, 1);
    socket->Set(ZMQ_CURVE_SECRETKEY, key_);
  }

  // Sets the options of a socket before it connects. token: that of the server, if nothing is encrypted.
  void Identify(Socket* socket, const std::string& token = "") const {
    socket->Set(ZMQ_ZAP_DOMAIN, "byteps_gc");
    if (!exists()) return;
    if (!token.empty()) {
      socket->Set(ZMQ_PLAIN_USERNAME, "byteps_gc");
      return socket->Set(ZMQ_PLAIN_PASSWORD, token);
    }
    socket->Set(ZMQ_CURVE_SERVERKEY, public_key_);
    socket->Set(ZMQ_CURVE_PUBLICKEY, public_key_);
    socket->Set(ZMQ_CURVE_SECRETKEY, key_);
  }

 private:
  Secret() {
    const char* encrypt = getenv("BYTEPS_GC_ENCRYPT");
    encrypts_ = !encrypt || strcmp(encrypt, "0") != 0;
    const char* file = getenv("BYTEPS_GC_SECRET_FILE");
    if (!file || !*file) return;
    std::ifstream stream(file);
    stream >> key_;
    char key[41];
    uint8_t bytes[32];
    if (key_.size() != 40 || zmq_curve_public(key, key_.c_str()) != 0 || !zmq_z85_decode(bytes, key)) {
      std::cerr << "byteps: cannot read a secret from BYTEPS_GC_SECRET_FILE=" << file
                << "; expected a file that python -m byteps_gc secret has made" << std::endl;
      _exit(78);
    }
    public_key_ = key;
    bytes_.assign(reinterpret_cast<char*>(bytes), sizeof bytes);
  }

  std::string key_, public_key_, bytes_;
  bool encrypts_;
};

// Handles ZeroMQ's authentication requests, and reports rejected connections, once for each address.
class Authenticator {
 public:
  // token: what clients have to send if nothing is encrypted.
  Authenticator(void* context, const std::string& token)
      : context_(context), token_(token), questions_(context, ZMQ_REP) {
    CHECK_EQ(zmq_bind(questions_.handle(), "inproc://zeromq.zap.01"), 0) << zmq_strerror(errno);
  }
  ~Authenticator() {
    stop_.Raise();
    if (thread_.joinable()) thread_.join();
  }

  // Adds a socket, before it is bound.
  void Watch(Socket* socket) {
    constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    listeners_.emplace_back(new Events(context_, socket, kEvents));
  }

  // Starts the thread, after all sockets have been added.
  void Start() { thread_ = std::thread(&Authenticator::Run, this); }

 private:
  static constexpr size_t kAddresses = 100;
  enum { kVersion, kRequest, kDomain, kAddress, kIdentity, kMechanism, kCredentials };

  void Run() {
    std::vector<pollfd> news{pollfd{stop_.fd(), POLLIN, 0}, pollfd{questions_.fd(), POLLIN, 0}};
    for (auto& listener : listeners_) news.push_back(pollfd{listener->fd(), POLLIN, 0});
    while (true) {
      std::vector<Part> question;
      while (questions_.Receive(&question)) Answer(&question);
      for (auto& listener : listeners_) Look(listener.get());
      Await(&news, 1000);
      if (news[0].revents) return;
    }
  }

  void Answer(std::vector<Part>* question) {
    const bool whole = question->size() > kMechanism;
    const std::string request = whole ? (*question)[kRequest].text() : "";
    const bool welcome = whole && Welcome(question);
    const std::string nothing, status = welcome ? "200" : "400";
    std::vector<Part> answer;
    for (const std::string& part : {std::string("1.0"), request, status, nothing, nothing, nothing})
      answer.emplace_back(part);
    questions_.Send(&answer, nullptr);
  }

  bool Welcome(std::vector<Part>* question) {
    const std::string mechanism = (*question)[kMechanism].text();
    if (!Secret::Get().exists()) return mechanism == "NULL";
    if (mechanism == "CURVE")
      return question->size() == kCredentials + 1 && (*question)[kCredentials].text() == Secret::Get().bytes();
    return mechanism == "PLAIN" && !token_.empty() && question->size() == kCredentials + 2 &&
           (*question)[kCredentials + 1].text() == token_;
  }

  void Look(Events* listener) {
    int event;
    std::string remote;
    while (listener->Next(&event, &remote)) {
      const std::string address = HostOf(remote);
      const bool differs = event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
      const char* why = differs ? "has another secret (BYTEPS_GC_SECRET_FILE)" : "is not a process of this job";
      if (reported_.size() < kAddresses && reported_.insert(address).second)
        std::cerr << "byteps: turned away a connection from " << address << ": it " << why << std::endl;
    }
  }

  // "10.0.0.2" of "tcp://10.0.0.2:1234".
  static std::string HostOf(const std::string& address) {
    const std::string tcp = "tcp://";
    if (address.empty()) return "an unknown address";
    if (address.compare(0, tcp.size(), tcp) != 0) return "a local socket";
    return address.substr(tcp.size(), address.rfind(':') - tcp.size());
  }

  void* const context_;
  const std::string token_;
  Socket questions_;
  std::vector<std::unique_ptr<Events>> listeners_;
  Alarm stop_;
  std::thread thread_;

  std::set<std::string> reported_;  // the thread's
};

}  // namespace ps

#endif  // BYTEPS_GC_SECRET_H
