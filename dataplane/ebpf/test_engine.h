// A fixture for tests of the engine against the kernel: a namespace, a BPF file system and a cgroup of their own, and
// the engine in them. Socket hooks alone, unless a test asks for more.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {

class EngineFixture : public testing::Test {
protected:
    static void SetUpTestSuite() {
        sandbox = Sandbox::enter();
        ASSERT_TRUE(sandbox);
    }
    static void TearDownTestSuite() { sandbox.reset(); }
    void TearDown() override {
        engine.reset();
        ASSERT_TRUE(cleanup_ebpf(options()));
    }

    static EbpfOptions options() {
        EbpfOptions out;
        out.object_dir = SLUICE_BPF_DIR;
        out.bpffs = sandbox->bpffs();
        out.cgroup_root = sandbox->cgroup();
        out.tc = false;
        // So that a few hundred services are too many for the first image.
        out.expected_services = 0;
        return out;
    }
    static PinPaths paths() { return PinPaths::under(sandbox->bpffs()); }
    static image::Node node() {
        image::Node out;
        out.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value(),
                             IpPrefix::parse("fd00:96::/112").value()};
        return out;
    }
    void start(const std::vector<image::Service>& services) { start(options(), services); }
    void start(const EbpfOptions& with, const std::vector<image::Service>& services) {
        engine.reset();
        auto opened = open_ebpf_engine(with);
        ASSERT_TRUE(opened) << opened.error().to_string();
        engine = std::move(*opened);
        const auto done = engine->replace_all(node(), services);
        ASSERT_TRUE(done) << done.error().to_string();
    }
    void apply(const image::Change& change) {
        const auto done = engine->apply(change);
        ASSERT_TRUE(done) << done.error().to_string();
    }

    static inline std::unique_ptr<Sandbox> sandbox;
    std::unique_ptr<Engine> engine;
};

// Connects in a loop until stopped; failures are counted.
class ConnectLoad {
public:
    ConnectLoad(const std::string& address, std::uint16_t port)
        : thread_([this, address, port] {
              while (!stopping_) {
                  const Reached reached = tcp_reach(AF_INET, address, port);
                  (reached.error == 0 ? good : failed) += 1;
                  last_error = reached.error != 0 ? reached.error : last_error.load();
              }
          }) {}
    ~ConnectLoad() { stop(); }
    void stop() {
        stopping_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    // Until so many more have succeeded, or one has failed.
    void wait_for(int more) const {
        const int target = good + more;
        while (good < target && failed == 0) {
            std::this_thread::yield();
        }
    }
    std::atomic<int> good{0};
    std::atomic<int> failed{0};
    std::atomic<int> last_error{0};

private:
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace sluice::dataplane
