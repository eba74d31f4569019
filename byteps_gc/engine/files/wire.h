// The headers of messages between two nodes, as bytes, and their validation.
//
// A message is a header, an entry for each node that it names, and data. Read() rejects bytes with another magic
// number, another length than the header implies, or a value that no node sends. It accesses no other bytes.
#ifndef BYTEPS_GC_WIRE_H
#define BYTEPS_GC_WIRE_H

#include <cstdint>
#include <cstring>
#include <string>

#include "ps/internal/message.h"

namespace ps {

namespace wire {

constexpr uint32_t kMagic = 0x32636762;  // "bgc2"
constexpr int kMostNodes = 4096;
constexpr size_t kHost = 64, kToken = 32;

struct Header {
  uint32_t magic;
  uint8_t command;  // Control::Command, EMPTY for data
  uint8_t flags;
  uint16_t nodes;
  int32_t head, app, customer, timestamp, option, group;
};
static_assert(sizeof(Header) == 32, "the header has no gaps");

struct NodeEntry {
  int32_t id, port, customer, user;
  uint8_t role, recovery, unused[2];
  char host[kHost];    // terminated by a zero
  char token[kToken];  // that a server expects from workers, or zeros
};
static_assert(sizeof(NodeEntry) == 116, "an entry has no gaps");

// ps-lite's field for the name of an endpoint holds a node's token, and its auxiliary number the node's user.
static_assert(sizeof(Node::endpoint_name) >= kToken, "a token has room");

inline std::string Token(const Node& node) { return std::string(node.endpoint_name, node.endpoint_name_len); }

inline void SetToken(const std::string& token, Node* node) {
  memset(node->endpoint_name, 0, sizeof node->endpoint_name);
  memcpy(node->endpoint_name, token.data(), token.size());
  node->endpoint_name_len = token.size();
}

enum Flags : uint8_t { kRequest = 1, kPush = 2, kAll = kRequest | kPush };

inline size_t Size(const Meta& meta) { return sizeof(Header) + meta.control.node.size() * sizeof(NodeEntry); }

// Writes Size(meta) bytes.
inline void Write(const Meta& meta, char* bytes) {
  CHECK(!meta.simple_app && meta.body.empty()) << "byteps_gc sends no messages of simple apps";
  Header header{};
  header.magic = kMagic;
  header.command = static_cast<uint8_t>(meta.control.cmd);
  header.flags = static_cast<uint8_t>((meta.request ? kRequest : 0) | (meta.push ? kPush : 0));
  header.nodes = static_cast<uint16_t>(meta.control.node.size());
  header.head = meta.head;
  header.app = meta.app_id;
  header.customer = meta.customer_id;
  header.timestamp = meta.timestamp;
  if (meta.control.empty()) header.option = meta.option;  // control messages do not initialize it
  if (meta.control.cmd == Control::BARRIER && meta.request) header.group = meta.control.barrier_group;
  memcpy(bytes, &header, sizeof header);
  bytes += sizeof header;
  for (const Node& node : meta.control.node) {
    NodeEntry entry{};
    CHECK_LT(node.hostname.size(), kHost) << "the host name " << node.hostname << " is longer than 63 characters";
    entry.id = node.id;
    entry.port = node.port;
    entry.customer = node.customer_id;
    entry.role = static_cast<uint8_t>(node.role);
    entry.recovery = node.is_recovery;
    entry.user = node.aux_id;
    if (node.endpoint_name_len == kToken) memcpy(entry.token, node.endpoint_name, kToken);
    memcpy(entry.host, node.hostname.data(), node.hostname.size());
    memcpy(bytes, &entry, sizeof entry);
    bytes += sizeof entry;
  }
}

inline bool Read(const NodeEntry& entry, Node* node) {
  const size_t length = strnlen(entry.host, kHost);
  if (!length || length == kHost || entry.role > Node::SCHEDULER || entry.recovery > 1) return false;
  if (entry.port < 1 || entry.port > 65535) return false;
  node->id = entry.id;
  node->port = entry.port;
  node->customer_id = entry.customer;
  node->role = static_cast<Node::Role>(entry.role);
  node->is_recovery = entry.recovery;
  node->hostname.assign(entry.host, length);
  node->aux_id = entry.user;
  SetToken(entry.token[0] ? std::string(entry.token, kToken) : "", node);
  return true;
}

// Reads a header and its entries; returns false if they are invalid.
inline bool Read(const char* bytes, size_t size, Meta* meta) {
  Header header;
  if (size < sizeof header) return false;
  memcpy(&header, bytes, sizeof header);
  if (header.magic != kMagic || (header.flags & ~kAll) || header.nodes > kMostNodes) return false;
  if (size != sizeof header + header.nodes * sizeof(NodeEntry)) return false;
  switch (header.command) {
    case Control::EMPTY:
      if (header.nodes || header.group) return false;
      break;
    case Control::ADD_NODE:
      if (!header.nodes || header.group) return false;
      break;
    case Control::BARRIER:
      if (header.nodes || header.group < 0 || header.group > 7) return false;
      if ((header.flags & kRequest) != (header.group ? kRequest : 0)) return false;  // a reply names no group
      break;
    default:
      return false;
  }
  meta->control.cmd = static_cast<Control::Command>(header.command);
  meta->control.barrier_group = header.group;
  meta->control.msg_sig = 0;
  meta->request = header.flags & kRequest;
  meta->push = header.flags & kPush;
  meta->simple_app = false;
  meta->head = header.head;
  meta->app_id = header.app;
  meta->customer_id = header.customer;
  meta->timestamp = header.timestamp;
  meta->option = header.option;
  meta->key = 0;
  meta->val_len = 0;
  for (int i = 0; i < header.nodes; ++i) {
    NodeEntry entry;
    memcpy(&entry, bytes + sizeof header + i * sizeof entry, sizeof entry);
    Node node;
    if (!Read(entry, &node)) return false;
    meta->control.node.push_back(node);
  }
  return true;
}

}  // namespace wire

}  // namespace ps

#endif  // BYTEPS_GC_WIRE_H
