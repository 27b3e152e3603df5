// An etcd for tests: a process with its data in memory (or in a temporary folder) on free loopback
// ports, ended with this object. It can be killed, stopped and started again.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "control/store/etcd/etcd_store.h"

namespace sluice::store::testing {

// False: the program is not installed.
[[nodiscard]] bool have_etcd();

class TestEtcd {
public:
    // Starts it and waits until it answers. `arguments` are added to its command line; {CLIENT}
    // stands for its client port.
    explicit TestEtcd(std::vector<std::string> arguments = {}, std::string scheme = "http");
    ~TestEtcd();
    TestEtcd(const TestEtcd&) = delete;
    TestEtcd& operator=(const TestEtcd&) = delete;

    [[nodiscard]] std::string url() const;
    // For a store of keys without any prefix, below "/test/" in etcd, that compacts nothing by
    // itself.
    [[nodiscard]] EtcdOptions options() const;

    void kill();      // SIGKILL
    void start();     // after kill(); with the same data and ports
    // After kill(): at another client port, where stores that know the first do not find it.
    void start_elsewhere();
    void start_at_home();
    void freeze();    // SIGSTOP: connections stay and nothing is answered
    void unfreeze();  // SIGCONT
    // Loses all data: what follows is another cluster at the same place. After kill().
    void erase();
    // Runs etcdctl against it and returns what it prints.
    std::string etcdctl(const std::vector<std::string>& arguments) const;

private:
    std::vector<std::string> arguments_;
    std::string scheme_;
    std::string folder_;
    int client_port_ = 0;
    int home_port_ = 0;
    int peer_port_ = 0;
    pid_t pid_ = -1;
};

}  // namespace sluice::store::testing
