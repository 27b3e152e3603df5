// A text that is made when somebody first asks for it, and then kept for all who ask.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace sluice::registry {

// Thread-safe and without a lock: two who ask at once may both make the text, and the first is kept. (std::call_once
// wakes those who might be waiting with a system call each time, whether there are any or not.)
class MadeOnce {
public:
    MadeOnce() = default;
    ~MadeOnce() { delete text_.load(std::memory_order_acquire); }
    MadeOnce(const MadeOnce&) = delete;
    MadeOnce& operator=(const MadeOnce&) = delete;

    // make: gives the std::string; the same whoever calls it.
    template <class Make>
    [[nodiscard]] const std::string& get(const Make& make) const {
        const std::string* text = text_.load(std::memory_order_acquire);
        if (text != nullptr) return *text;
        std::string fresh = make();
        fresh.shrink_to_fit();  // it may have grown by doubling, and stays
        auto made = std::make_unique<const std::string>(std::move(fresh));
        if (text_.compare_exchange_strong(text, made.get(), std::memory_order_acq_rel, std::memory_order_acquire)) {
            return *made.release();
        }
        return *text;
    }

private:
    mutable std::atomic<const std::string*> text_{nullptr};
};

}  // namespace sluice::registry
