#include "dataplane/dpdk/client/engine_link.h"

#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstRetry{50};
constexpr milliseconds kLastRetry{1000};
// The engine says something each second.
constexpr std::chrono::seconds kSilence{5};
constexpr milliseconds kGraceRetry{200};
// Longer than a call that waits for lcores may take.
constexpr std::chrono::seconds kLongestGrace{15};

}  // namespace

EngineLink::EngineLink(std::string socket, std::string state_directory)
    : socket_(std::move(socket)),
      state_directory_(std::move(state_directory)),
      calls_(EngineCalls::to(socket_)),
      watcher_([this] { watch(); }),
      waiter_([this] { run_grace(); }) {}

EngineLink::~EngineLink() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        calls_->cancel();
    }
    changed_.notify_all();
    watcher_.join();
    waiter_.join();
}

std::shared_ptr<EngineCalls> EngineLink::calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
}

LinkState EngineLink::state() const {
    const std::lock_guard lock(mutex_);
    LinkState out = state_;
    out.silent = out.engine && steady_clock::now() - heard_ > kSilence;
    return out;
}

void EngineLink::settle(milliseconds wait) const {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [this] { return tried_ || stopping_; });
}

void EngineLink::set_image(std::uint32_t number) {
    const std::lock_guard lock(mutex_);
    image_ = number;
}

Result<void> EngineLink::attach() {
    std::shared_ptr<EngineCalls> calls;
    std::uint32_t image = 0;
    {
        const std::lock_guard lock(mutex_);
        if (!state_.engine) {
            return make_error(Code::kUnavailable, "no DPDK engine answers on {}", socket_);
        }
        if (state_.engine->state_directory != state_directory_) {
            return make_error(Code::kUnavailable, "{}", state_.trouble);
        }
        calls = calls_;
        image = image_;
    }
    auto done = calls->attach(image);
    const std::lock_guard lock(mutex_);
    state_.trouble = done ? std::string() : fmt::format("the engine refuses image-{}: {}", image, done.error().message);
    return done;
}

void EngineLink::attach_to(EngineCalls& calls, const EngineState& engine) {
    std::uint32_t image = 0;
    {
        const std::lock_guard lock(mutex_);
        image = image_;
    }
    if (image == 0 || engine.image == image) {
        return;
    }
    auto done = calls.attach(image);
    if (!done) {
        log::warn("dpdk", "the engine does not take image-{}: {}", image, done.error().to_string());
    } else {
        log::info("dpdk", "the engine uses image-{}", image);
    }
    const std::lock_guard lock(mutex_);
    state_.trouble = done ? std::string() : fmt::format("the engine refuses image-{}: {}", image, done.error().message);
}

Result<void> EngineLink::follow() {
    auto calls = this->calls();
    bool first = true;
    auto ended = calls->watch([&](const EngineState& engine) {
        if (first) {
            log::info("dpdk", "found the engine {} (process {}), {} lcores, {} ports, {}", engine.version, engine.pid,
                      engine.lcores.size(), engine.ports.size(), engine.memory);
        }
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) {
                return false;
            }
            if (first) {
                ++state_.connections;
                state_.trouble.clear();
            }
            state_.engine = engine;
            if (engine.state_directory != state_directory_) {
                state_.trouble = fmt::format("the engine reads {}, and this agent writes {}", engine.state_directory,
                                             state_directory_);
            }
            heard_ = steady_clock::now();
            tried_ = true;
        }
        changed_.notify_all();
        if (first && engine.state_directory == state_directory_) {
            attach_to(*calls, engine);
        }
        first = false;
        return true;
    });
    bool lost = false;
    {
        const std::lock_guard lock(mutex_);
        lost = state_.engine.has_value();
        state_.losses += lost ? 1U : 0U;
        state_.engine.reset();
        state_.trouble = ended ? "the engine ended its stream" : ended.error().message;
        tried_ = true;
        if (!stopping_) {
            calls_ = EngineCalls::to(socket_);
        }
    }
    // Whoever waits for an answer of that engine gets none.
    calls->cancel();
    changed_.notify_all();
    return lost ? Result<void>() : Result<void>(make_error(Code::kUnavailable, "there is no engine"));
}

void EngineLink::watch() {
    milliseconds retry = kFirstRetry;
    for (;;) {
        const bool was_there = follow().has_value();
        std::unique_lock lock(mutex_);
        if (stopping_) {
            return;
        }
        if (was_there) {
            log::warn("dpdk", "lost the engine: {}; the tables are kept up to date for the next", state_.trouble);
            retry = kFirstRetry;
        }
        changed_.wait_for(lock, retry, [this] { return stopping_; });
        if (stopping_) {
            return;
        }
        retry = std::min(retry * 2, kLastRetry);
    }
}

bool EngineLink::nobody_forwards() const {
    // An engine holds the lock as long as its lcores may run, whether or not it answers. What it would find now is what
    // is published now.
    return !state_directory_in_use(state_directory_);
}

bool EngineLink::pass_grace() {
    return calls()->synchronize().has_value() || nobody_forwards();
}

void EngineLink::run_grace() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (grace_ != Grace::kAsked) {
            changed_.wait(lock);
            continue;
        }
        lock.unlock();
        const bool passed = pass_grace();
        lock.lock();
        if (passed) {
            grace_ = Grace::kIdle;
            changed_.notify_all();
        } else {
            changed_.wait_for(lock, kGraceRetry, [this] { return stopping_; });
        }
    }
}

void EngineLink::start_grace() {
    {
        const std::lock_guard lock(mutex_);
        SLUICE_ASSERT(grace_ == Grace::kIdle);
        grace_ = Grace::kAsked;
    }
    changed_.notify_all();
}

bool EngineLink::idle() const {
    const std::lock_guard lock(mutex_);
    return grace_ == Grace::kIdle;
}

bool EngineLink::wait_grace() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLongestGrace, [this] { return grace_ == Grace::kIdle; });
}

}  // namespace sluice::dpdk
