// The entry of a server's and of a scheduler's process.
#ifndef BYTEPS_SERVER_H
#define BYTEPS_SERVER_H

namespace byteps {
namespace server {

extern "C" void byteps_server();

}  // namespace server
}  // namespace byteps

#endif  // BYTEPS_SERVER_H
