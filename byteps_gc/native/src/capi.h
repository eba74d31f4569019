// The library's one C surface. Texts are UTF-8; a function that can refuse takes `why`, room for kWhy bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#define BGC_API extern "C" __attribute__((visibility("default")))

constexpr size_t kWhy = 256;

// Options are "key=value" lines. dtype: 0 float32, 2 float16. registered: bytes. Null with the reason if refused.
BGC_API void* bgc_worker_new(const char* options, int dtype, size_t registered, int workers, int worker,
                             uint32_t stream, char* why);
BGC_API void bgc_worker_free(void* worker);
// Returns the frame's bytes, which stay valid until the next call, and their number. before: what becomes of the state
// first: 0 it stays, 1 its last step is taken back, 2 it starts from zero.
BGC_API const uint8_t* bgc_worker_compress(void* worker, const void* gradient, size_t d, float eta, int before,
                                           size_t* size);
// What reads a frame returns 0, or the code of the refusal (refusals.h), with its detail in `why`.
BGC_API int bgc_worker_decompress(void* worker, const uint8_t* reply, size_t size, size_t d, void* out, char* why);
// Momentum and residual (d floats each, or null), eta of the residual, next step.
BGC_API void bgc_worker_save(void* worker, float* momentum, float* residual, float* eta, uint32_t* step);
BGC_API void bgc_worker_load(void* worker, size_t d, const float* momentum, const float* residual, float eta,
                             uint32_t step);

BGC_API void* bgc_server_new(const char* options, int dtype, size_t registered, int workers, char* why);
BGC_API void bgc_server_free(void* server);
BGC_API int bgc_server_push(void* server, const uint8_t* frame, size_t size, char* why);
// absent: workers that have not pushed, and count as zeros.
BGC_API const uint8_t* bgc_server_reply(void* server, size_t d, size_t absent, size_t* size);
BGC_API int bgc_server_add(void* server, const uint8_t* frame, size_t size, size_t d, float* out, char* why);
// Residual (d floats, or null), its eta, next step.
BGC_API void bgc_server_save(void* server, size_t d, float* residual, float* eta, uint32_t* step);
BGC_API void bgc_server_load(void* server, size_t d, const float* residual, float eta, uint32_t step);

// Registers the compressors in the BytePS library that this process has loaded for all, as "byteps_gc". Once.
BGC_API int bgc_register(int server, char* why);
// BytePS starts, perhaps anew: how many workers there are, and, on a worker, which one this is.
BGC_API void bgc_start(int workers, int worker);
// On a worker, the number of a tensor that is declared with our compressors, by its name.
BGC_API int bgc_tensor(const char* name);
// Before an exchange of that tensor: its learning rate, what becomes of the state first (as above), and by what the
// gradient is multiplied.
BGC_API void bgc_step(int tensor, float eta, int before, float factor);
// After it: 0 if all values that arrived are finite, 1 if not, 2 with the reason if a reply was refused or an error.
BGC_API int bgc_outcome(int tensor, char* why);
// How many exchanges of that tensor there have been, and that there have been this many, some without this worker.
BGC_API uint32_t bgc_steps(int tensor);
BGC_API void bgc_pass_over(int tensor, uint32_t steps);
// How many partitions of that tensor are registered. Of one of them, between two exchanges: its elements (0 before its
// first exchange), whether it keeps a momentum and a residual, and what bgc_worker_save() and bgc_worker_load() do.
// before: what the next exchange will do to the state, which is done now. What is loaded is used by the next exchange,
// which fails if it has another number of elements.
BGC_API int bgc_partitions(int tensor);
BGC_API size_t bgc_partition_elements(int tensor, int partition);
BGC_API void bgc_partition_save(int tensor, int partition, int before, float* momentum, float* residual, float* eta,
                                uint32_t* step);
BGC_API void bgc_partition_load(int tensor, int partition, size_t d, const float* momentum, const float* residual,
                                float eta, uint32_t step);
// How many partitions BytePS has registered since the last call.
BGC_API int bgc_registered(void);
// "NAME text" of a refusal's code, empty if there is none.
BGC_API void bgc_refusal(int code, char* why);
// The CRC-32C of some bytes.
BGC_API uint32_t bgc_checksum(const void* data, size_t size);
