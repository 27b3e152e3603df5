// What keeps a Core from being idle (Core::wait_until_idle) while something of it is under way on another thread.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

class Busy {
public:
    explicit Busy(Core& core) : core_(core) {
        const std::lock_guard lock(core_.mutex);
        ++core_.writes;
    }
    ~Busy() {
        const std::lock_guard lock(core_.mutex);
        --core_.writes;
        core_.idle.notify_all();
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    Core& core_;
};

// The task, which lets go of what it holds once it has run, and of `busy` after that.
inline std::function<void()> while_busy(std::shared_ptr<Busy> busy, std::function<void()> task) {
    return [busy = std::move(busy), task = std::move(task)]() mutable {
        task();
        task = nullptr;
        busy.reset();
    };
}

}  // namespace sluice::registry
