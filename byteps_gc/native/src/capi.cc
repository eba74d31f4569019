#include "capi.h"

#include <cstring>
#include <sstream>

#include "partition.h"
#include "processor.h"

using bgc::PlainArithmetic;
using bgc::Server;
using bgc::Worker;

namespace {

void tell(const std::string& text, char* why) {
  const size_t n = text.size() < kWhy ? text.size() : kWhy - 1;
  std::memcpy(why, text.data(), n);
  why[n] = 0;
}

int reported(const bgc::Refusal& refusal, char* why) {
  if (refusal) tell(refusal.detail, why);
  return int(refusal.code);
}

bool registration(const char* options, int dtype, size_t registered, int workers, bgc::Registration* r, char* why) {
  bgc::Texts texts;
  std::istringstream lines(options);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find('=');
    if (at != std::string::npos) texts[line.substr(0, at)] = line.substr(at + 1);
  }
  std::string text;
  if (bgc::check_registration(texts, dtype, registered, workers, r, &text)) return true;
  tell(text, why);
  return false;
}

const uint8_t* sized(const bgc::View& frame, size_t* size) {
  *size = frame.size;
  return frame.data;
}

}  // namespace

void* bgc_worker_new(const char* options, int dtype, size_t registered, int workers, int worker, uint32_t stream,
                     char* why) {
  bgc::Registration r;
  if (!registration(options, dtype, registered, workers, &r, why)) return nullptr;
  if (worker < 0 || worker >= workers) {
    tell("worker=" + std::to_string(worker) + " is not an integer from 0 to " + std::to_string(workers - 1), why);
    return nullptr;
  }
  return new Worker(r, uint16_t(worker), stream);
}

void bgc_worker_free(void* worker) { delete static_cast<Worker*>(worker); }

const uint8_t* bgc_worker_compress(void* worker, const void* gradient, size_t d, float eta, int before, size_t* size) {
  PlainArithmetic plain;
  return sized(static_cast<Worker*>(worker)->compress(gradient, d, eta, bgc::Before(before)), size);
}

int bgc_worker_decompress(void* worker, const uint8_t* reply, size_t size, size_t d, void* out, char* why) {
  PlainArithmetic plain;
  bgc::Refusal refusal;
  static_cast<Worker*>(worker)->decompress({reply, size}, d, out, &refusal);
  return reported(refusal, why);
}

void bgc_worker_save(void* worker, float* momentum, float* residual, float* eta, uint32_t* step) {
  PlainArithmetic plain;
  const Worker* w = static_cast<Worker*>(worker);
  w->save(momentum, residual);
  *eta = w->eta();
  *step = w->step();
}

void bgc_worker_load(void* worker, size_t d, const float* momentum, const float* residual, float eta, uint32_t step) {
  static_cast<Worker*>(worker)->load(step, eta, d, momentum, residual);
}

void* bgc_server_new(const char* options, int dtype, size_t registered, int workers, char* why) {
  bgc::Registration r;
  if (!registration(options, dtype, registered, workers, &r, why)) return nullptr;
  return new Server(r);
}

void bgc_server_free(void* server) { delete static_cast<Server*>(server); }

int bgc_server_push(void* server, const uint8_t* frame, size_t size, char* why) {
  PlainArithmetic plain;
  bgc::Refusal refusal;
  static_cast<Server*>(server)->push({frame, size}, &refusal);
  return reported(refusal, why);
}

const uint8_t* bgc_server_reply(void* server, size_t d, size_t absent, size_t* size) {
  PlainArithmetic plain;
  return sized(static_cast<Server*>(server)->reply(d, absent), size);
}

int bgc_server_add(void* server, const uint8_t* frame, size_t size, size_t d, float* out, char* why) {
  PlainArithmetic plain;
  bgc::Refusal refusal;
  static_cast<Server*>(server)->add({frame, size}, d, out, &refusal);
  return reported(refusal, why);
}

void bgc_server_save(void* server, size_t d, float* residual, float* eta, uint32_t* step) {
  PlainArithmetic plain;
  const Server* s = static_cast<Server*>(server);
  s->save(d, residual);
  *eta = s->eta();
  *step = s->step();
}

void bgc_server_load(void* server, size_t d, const float* residual, float eta, uint32_t step) {
  static_cast<Server*>(server)->load(step, eta, d, residual);
}

void bgc_refusal(int code, char* why) {
  const std::string name = bgc::name_of(bgc::Code(code));
  tell(name.empty() ? name : name + " " + bgc::text_of(bgc::Code(code)), why);
}
