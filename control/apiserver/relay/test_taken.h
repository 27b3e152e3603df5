// A client for tests of relayed requests: takes one answer, whole or as a stream.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "control/http/server.h"

namespace sluice::relay::testing {

class Taken final : public http::Responder {
public:
    void send(http::Response response) override {
        const std::lock_guard lock(mutex_);
        head_ = std::move(response);
        text_ = head_.body;
        over_ = true;
        changed_.notify_all();
    }
    void begin_stream(http::Response head) override {
        const std::lock_guard lock(mutex_);
        head_ = std::move(head);
        streamed_ = true;
    }
    bool write(std::string chunk) override {
        const std::lock_guard lock(mutex_);
        text_ += chunk;
        changed_.notify_all();
        return !gone_;
    }
    void end_stream() override {
        const std::lock_guard lock(mutex_);
        over_ = true;
        changed_.notify_all();
    }
    void abort_stream() override {
        const std::lock_guard lock(mutex_);
        broken_ = true;
        over_ = true;
        changed_.notify_all();
    }
    void on_close(std::function<void()> callback) override {
        const std::lock_guard lock(mutex_);
        on_close_ = std::move(callback);
    }

    // Waits for the end.
    http::Response whole() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return over_; });
        head_.body = text_;
        return head_;
    }
    void wait_for(const std::string& text) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return text_ == text; });
    }
    void hang_up() {
        std::function<void()> callback;
        {
            const std::lock_guard lock(mutex_);
            gone_ = true;
            callback = on_close_;
        }
        if (callback) callback();
    }
    [[nodiscard]] bool streamed() const { return streamed_; }
    [[nodiscard]] bool broken() const { return broken_; }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    http::Response head_;
    std::string text_;
    bool over_ = false;
    bool gone_ = false;
    bool streamed_ = false;
    bool broken_ = false;
    std::function<void()> on_close_;
};

}  // namespace sluice::relay::testing
