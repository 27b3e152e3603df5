// What stands between a handler and its connection: a responder that passes everything on to another one. Those that
// look at answers override what they look at.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "control/http/server.h"

namespace sluice::http {

class ForwardingResponder : public Responder {
public:
    explicit ForwardingResponder(std::shared_ptr<Responder> inner) : inner_(std::move(inner)) {}

    void send(Response response) override { inner_->send(std::move(response)); }
    void begin_stream(Response head) override { inner_->begin_stream(std::move(head)); }
    bool write(std::string chunk) override { return inner_->write(std::move(chunk)); }
    void end_stream() override { inner_->end_stream(); }
    void abort_stream() override { inner_->abort_stream(); }
    void on_close(std::function<void()> callback) override {
        inner_->on_close(std::move(callback));
    }
    void when_writable(std::function<void()> callback) override {
        inner_->when_writable(std::move(callback));
    }
    void upgrade(Response head, OpenCallback on_open) override {
        inner_->upgrade(std::move(head), std::move(on_open));
    }

    // Something to be noted about the request, for whoever keeps records on the way to the connection.
    virtual void annotate(const std::string& key, const std::string& value) {
        if (auto* next = dynamic_cast<ForwardingResponder*>(inner_.get())) next->annotate(key, value);
    }

protected:
    const std::shared_ptr<Responder> inner_;
};

// Nothing, if nobody keeps records.
inline void annotate(Responder& responder, const std::string& key, const std::string& value) {
    if (auto* first = dynamic_cast<ForwardingResponder*>(&responder)) first->annotate(key, value);
}

}  // namespace sluice::http
