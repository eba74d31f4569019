// The C surface of a worker's engine, for front ends of any framework: arrays by address, completion by tickets.
//
// A front end declares a tensor, registers it, and exchanges arrays under its number. register and exchange return a
// ticket at once; the ticket is done when all of it is done, and is waited for exactly once. Errors are text in `why`
// (at most `room` bytes, ended by 0). The surface only sums: means are the front end's.
#ifndef BYTEPS_GC_CORE_API_H
#define BYTEPS_GC_CORE_API_H

#include <stddef.h>
#include <stdint.h>

extern "C" {

// The exchange of one array, in place. A tensor has at most one exchange under way, so the step state below reaches the
// tensor's compressors for this exchange and no other.
struct byteps_gc_core_exchange_of {
  int tensor;      // number of the tensor
  int priority;    // larger ones are sent first where BYTEPS_SCHEDULING_CREDIT is set
  void* data;      // the array; it stays valid and untouched until the ticket is done
  int compressor;  // number of the tensor's compressors in their own library; below 0 for none
  int before;      // what their state undergoes first: 0 nothing, 1 the last step is taken back, 2 reset
  float rate;      // learning rate of the step
  float factor;    // what the gradient is multiplied by first
};

// Starts a session after byteps_lazy_init(): no tensor is declared.
void byteps_gc_core_open();

// Begins to connect to the cluster, which waits for all its processes, and returns a ticket; 0 on errors. Without it, the
// first registration connects.
uint64_t byteps_gc_core_connect(char* why, size_t room);

// Ends the session: nothing more begins, and every wait returns.
void byteps_gc_core_close();

// After close(), begins to shut BytePS down, once, and waits for it. 0: done; 1: not done within `seconds`.
int byteps_gc_core_stop(double seconds);

// Returns the number of a new tensor, or -1. All workers declare the same tensors in the same order. bytes: its size,
// by which its partitions are placed on servers, or 0. partition: their size, or 0 for BYTEPS_PARTITION_BYTES. label: its
// name in messages, or empty. workers: how many workers register and exchange it, or 0 for all. keys, values: options of
// its compressors.
int byteps_gc_core_declare(const char* name, uint64_t bytes, uint64_t partition, const char* label, int workers,
                           int options, const char* const* keys, const char* const* values, char* why, size_t room);

// Begins to register a tensor with its servers, after all that were registered before; 0 on errors. It is done when all
// workers that exchange it have registered it.
uint64_t byteps_gc_core_register(int tensor, uint64_t bytes, int dtype, char* why, size_t room);

// Begins to replace arrays by their sums over the workers that exchange them; 0 on errors, and then none has begun.
// queued: whether byteps_gc_core_next() returns the ticket.
uint64_t byteps_gc_core_exchange(int count, const struct byteps_gc_core_exchange_of* each, int queued, char* why,
                                 size_t room);

// Waits for a ticket. 0: done; 1: not done within `seconds`; 2: failed.
int byteps_gc_core_wait(uint64_t ticket, double seconds, char* why, size_t room);

// Waits until no registration or exchange is under way. 0: none is; 1: one still is after `seconds`.
int byteps_gc_core_drain(double seconds);

// Returns the next queued ticket that is done; 0 if there is none within `seconds`, or the session has ended.
uint64_t byteps_gc_core_next(double seconds);

// Sets the function that hands an exchange's step state to its compressors; their library calls this once.
void byteps_gc_core_use_steps(void (*step)(int compressor, float rate, int before, float factor));

}  // extern "C"

#endif  // BYTEPS_GC_CORE_API_H
