#include "dataplane/ebpf/grace.h"

#include <bpf/bpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "api/base/fd.h"

namespace sluice::dataplane {
namespace {

// The kernel waits for running programs after an update of an outer map, before the call returns.
Result<void> wait_by_outer_map() {
    const Fd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "sluice_grace_in", 4, 4, 1, nullptr));
    if (!inner) {
        return errno_error(errno, "cannot create the map that a grace period needs");
    }
    LIBBPF_OPTS(bpf_map_create_opts, options,
                .inner_map_fd = static_cast<std::uint32_t>(inner.get()));
    const Fd outer(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "sluice_grace", 4, 4, 1, &options));
    if (!outer) {
        return errno_error(errno, "cannot create the outer map that a grace period needs");
    }
    const std::uint32_t key = 0;
    const int value = inner.get();
    const int error = bpf_map_update_elem(outer.get(), &key, &value, BPF_ANY);
    if (error != 0) {
        return errno_error(-error, "cannot wait for a grace period");
    }
    return {};
}

}  // namespace

Result<void> wait_for_grace_period() {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) {
        return {};
    }
    return wait_by_outer_map();
}

GraceWaiter::GraceWaiter() : thread_([this] { run(); }) {}

GraceWaiter::~GraceWaiter() {
    {
        const std::lock_guard lock(mutex_);
        state_ = State::kStopping;
    }
    changed_.notify_all();
    thread_.join();
}

void GraceWaiter::start() {
    {
        const std::lock_guard lock(mutex_);
        SLUICE_ASSERT(state_ != State::kAsked);
        state_ = State::kAsked;
    }
    changed_.notify_all();
}

bool GraceWaiter::idle() {
    const std::lock_guard lock(mutex_);
    return state_ == State::kIdle;
}

bool GraceWaiter::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ != State::kAsked; });
    return state_ == State::kIdle;
}

void GraceWaiter::run() {
    std::unique_lock lock(mutex_);
    while (state_ != State::kStopping) {
        if (state_ != State::kAsked) {
            changed_.wait(lock);
            continue;
        }
        lock.unlock();
        const bool passed = wait_for_grace_period().has_value();
        lock.lock();
        if (state_ == State::kAsked) {
            state_ = passed ? State::kIdle : State::kFailed;
        }
        changed_.notify_all();
    }
}

}  // namespace sluice::dataplane
