// A container runtime's streaming server for tests: SPDY/3.1 over plain TCP on loopback, as containerd's, but the
// commands are processes of this machine and the forwarded ports its own. Blocking threads; errors end the connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/kubelet/server/server.h"

namespace sluice::kubelet::testing {

class TestRuntime {
public:
    TestRuntime();
    ~TestRuntime();
    TestRuntime(const TestRuntime&) = delete;
    TestRuntime& operator=(const TestRuntime&) = delete;

    // URLs, as the runtime's Exec and PortForward give them.
    std::string exec(const ExecRequest& request);
    std::string port_forward();

private:
    void accept();
    void serve(int socket);

    std::uint16_t port_ = 0;
    int listener_ = -1;  // sets port_
    std::mutex mutex_;
    std::map<std::string, ExecRequest> tokens_;
    std::vector<int> sockets_;
    std::vector<std::thread> threads_;
    std::atomic<bool> stopping_{false};
    std::thread acceptor_;
};

}  // namespace sluice::kubelet::testing
