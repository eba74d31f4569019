// The C surface of a worker's engine, for front ends of any framework: arrays by address, completion by tickets.
//
// A front end declares a tensor, registers it, and exchanges arrays under its number. register and exchange return a
// ticket at once. A ticket is done when all its registrations or exchanges are, and is waited for exactly once. Errors
// are written to `why` as text (at most `room` bytes with the terminating 0). The surface only sums: front ends compute
// means.
#ifndef BYTEPS_GC_CORE_API_H
#define BYTEPS_GC_CORE_API_H

#include <stddef.h>
#include <stdint.h>

extern "C" {

// The exchange of one array, in place. At most one exchange of a tensor is under way, so the step state below applies
// to this exchange only.
struct byteps_gc_core_exchange_of {
  int tensor;      // number of the tensor
  int priority;    // larger ones are sent first where BYTEPS_SCHEDULING_CREDIT is set
  void* data;      // the array; it stays valid and untouched until the ticket is done
  int compressor;  // number of the tensor's compressors in their own library; negative for none
  int before;      // change of their state before the exchange: 0 none, 1 undo the last step, 2 reset
  float rate;      // learning rate of the step
  float factor;    // by which the gradient is multiplied before the exchange
};

// Starts a session after byteps_lazy_init(): no tensor is declared.
void byteps_gc_core_open();

// Begins to connect to the cluster, which waits for all its processes. Returns a ticket, or 0 on errors. Without this
// call, the first registration connects.
uint64_t byteps_gc_core_connect(char* why, size_t room);

// Ends the session: no registration or exchange can begin any more, and every wait returns.
void byteps_gc_core_close();

// After close(), begins to shut BytePS down, once, and waits for it. 0: done; 1: not done within `seconds`.
int byteps_gc_core_stop(double seconds);

// Declares a tensor, and returns its number, or -1 on errors. All workers declare the same tensors in the same order.
// bytes: its size, by which its partitions are placed on servers, or 0. partition: the size of its partitions, or 0 for
// BYTEPS_PARTITION_BYTES. label: its additional name in messages, or empty. workers: how many workers register and
// exchange it, or 0 for all. keys, values: options of its compressors.
int byteps_gc_core_declare(const char* name, uint64_t bytes, uint64_t partition, const char* label, int workers,
                           int options, const char* const* keys, const char* const* values, char* why, size_t room);

// Begins to register a tensor with its servers, after all earlier registrations. Returns a ticket, or 0 on errors. The
// ticket is done when all workers that exchange the tensor have registered it.
uint64_t byteps_gc_core_register(int tensor, uint64_t bytes, int dtype, char* why, size_t room);

// Begins to replace arrays by their sums over the workers that exchange them. Returns a ticket, or 0 on errors, when no
// exchange has begun. queued: whether byteps_gc_core_next() returns the ticket.
uint64_t byteps_gc_core_exchange(int count, const struct byteps_gc_core_exchange_of* each, int queued, char* why,
                                 size_t room);

// Waits for a ticket. 0: done; 1: not done within `seconds`; 2: failed.
int byteps_gc_core_wait(uint64_t ticket, double seconds, char* why, size_t room);

// Waits until no registration or exchange is under way. 0: none is; 1: not within `seconds`.
int byteps_gc_core_drain(double seconds);

// Returns the next queued ticket that is done; 0 if there is none within `seconds`, or the session has ended.
uint64_t byteps_gc_core_next(double seconds);

// Sets the function that hands an exchange's step state to its compressors; their library calls this once.
void byteps_gc_core_use_steps(void (*step)(int compressor, float rate, int before, float factor));

}  // extern "C"

#endif  // BYTEPS_GC_CORE_API_H
