// Workers that the store's thread or the executor may still hold when their owner lets go of them: shared inside, owned
// singly outside.
#pragma once

#include <memory>
#include <utility>

namespace sluice::registry {

// An Interface (with a virtual stop()) that stops its Worker when it is told to or destroyed.
template <class Interface, class Worker>
class StoppingHandle final : public Interface {
public:
    explicit StoppingHandle(std::shared_ptr<Worker> worker) : worker_(std::move(worker)) {}
    ~StoppingHandle() override { worker_->stop(); }
    StoppingHandle(const StoppingHandle&) = delete;
    StoppingHandle& operator=(const StoppingHandle&) = delete;
    void stop() override { worker_->stop(); }

private:
    std::shared_ptr<Worker> worker_;
};

}  // namespace sluice::registry
