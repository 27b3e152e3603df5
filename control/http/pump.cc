// Two streams joined. Each direction is one chain of calls: read, write, wait until writable, read.
#include <atomic>
#include <utility>

#include "control/http/byte_stream.h"

namespace sluice::http {
namespace {

class Pump : public std::enable_shared_from_this<Pump> {
public:
    Pump(std::shared_ptr<ByteStream> left, std::shared_ptr<ByteStream> right,
         std::function<void()> on_end)
        : left_(std::move(left)), right_(std::move(right)), on_end_(std::move(on_end)) {}

    void start() {
        turn(left_.get(), right_.get());
        turn(right_.get(), left_.get());
    }

private:
    void turn(ByteStream* from, ByteStream* to) {
        from->read([self = shared_from_this(), from, to](Result<std::string> bytes) {
            if (!bytes) {
                self->lost();
            } else if (bytes->empty()) {
                to->end_writing();
                self->direction_ended();
            } else if (!to->write(std::move(*bytes))) {
                self->lost();
            } else {
                to->when_writable([self, from, to] { self->turn(from, to); });
            }
        });
    }

    void direction_ended() {
        if (ended_.fetch_add(1) + 1 == 2) finish();
    }

    // What had been read before the loss is still on its way; the other side gets it, then the end.
    void lost() {
        left_->end_writing();
        right_->end_writing();
        direction_ended();
    }

    void finish() {
        if (on_end_) std::exchange(on_end_, nullptr)();
        // Streams that have ended for writing close by themselves when all is sent.
    }

    std::shared_ptr<ByteStream> left_;
    std::shared_ptr<ByteStream> right_;
    std::function<void()> on_end_;
    std::atomic<int> ended_{0};
};

}  // namespace

void pump(std::shared_ptr<ByteStream> left, std::shared_ptr<ByteStream> right,
          std::function<void()> on_end) {
    std::make_shared<Pump>(std::move(left), std::move(right), std::move(on_end))->start();
}

}  // namespace sluice::http
