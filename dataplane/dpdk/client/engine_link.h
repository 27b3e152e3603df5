// The agent's standing connection to the engine: knows whether it lives, tells it which image is in force whenever it
// is new, and waits for grace periods. Two threads of its own; the engine's death blocks nobody.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "api/base/result.h"
#include "dataplane/dpdk/client/calls.h"

namespace sluice::dpdk {

// What is known of the engine.
struct LinkState {
    std::optional<EngineState> engine;  // none: nobody answers
    std::string trouble;                // why nothing of the kind is known, or why the engine refuses the image
    std::uint64_t connections = 0;      // how often an engine was found
    std::uint64_t losses = 0;           // how often it went
    bool silent = false;                // it is there, and has said nothing for long
};

class EngineLink {
public:
    EngineLink(std::string socket, std::string state_directory);
    EngineLink(const EngineLink&) = delete;
    EngineLink& operator=(const EngineLink&) = delete;
    ~EngineLink();

    [[nodiscard]] LinkState state() const;
    // Waits for the engine to be found, or not: at most `wait`, for who wants to know before the first image.
    void settle(std::chrono::milliseconds wait) const;

    // The image that a new engine is to use, from now on.
    void set_image(std::uint32_t number);
    // Tells the engine of it and waits. kUnavailable: there is none; it will begin with this image by itself.
    Result<void> attach();

    // Grace periods, one at a time: when one has passed, no lcore uses what was unpublished at its start. Where no
    // engine runs (nobody holds the state directory), that is at once.
    // REQUIRES: idle().
    void start_grace();
    [[nodiscard]] bool idle() const;
    // Blocks until idle; false if that lasts longer than a grace period may.
    bool wait_grace();
    // The same, for who waits for his own. False: nothing may be reused.
    bool pass_grace();

private:
    void watch();
    void run_grace();
    // One life of the engine: returns when it has gone.
    Result<void> follow();
    [[nodiscard]] std::shared_ptr<EngineCalls> calls() const;
    [[nodiscard]] bool nobody_forwards() const;
    // Of an engine that has just been found, or says that it uses another image.
    void attach_to(EngineCalls& calls, const EngineState& engine);

    const std::string socket_;
    const std::string state_directory_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    LinkState state_;
    bool tried_ = false;  // whether the first connection has come or failed
    std::chrono::steady_clock::time_point heard_;
    std::uint32_t image_ = 0;
    std::shared_ptr<EngineCalls> calls_;
    enum class Grace : std::uint8_t { kIdle, kAsked };
    Grace grace_ = Grace::kIdle;
    bool stopping_ = false;
    std::thread watcher_;
    std::thread waiter_;
};

}  // namespace sluice::dpdk
