#include "control/kubelet/server/log_session.h"

#include <utility>

#include "api/base/log.h"

namespace sluice::kubelet {
namespace {

constexpr std::string_view kComponent = "kubelet-server";

}  // namespace

LogSession::LogSession(logs::LogReader reader, std::shared_ptr<http::Responder> responder,
                       Workers& workers, logs::LogWatch* watch, std::function<bool()> is_running)
    : reader_(std::move(reader)),
      responder_(std::move(responder)),
      workers_(workers),
      watch_(watch),
      is_running_(std::move(is_running)) {}

LogSession::~LogSession() {
    if (watching_) watch_->stop(reader_.path());
}

void LogSession::start() {
    if (watch_ != nullptr) {
        // Before the first read, so that no change falls between.
        const auto started = watch_->start(reader_.path());
        if (!started) {
            http::Response response;
            response.status = started.error().code == Code::kResourceExhausted ? 503 : 500;
            response.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
            response.body = started.error().message + "\n";
            responder_->send(std::move(response));
            return;
        }
        watching_ = true;
    }
    http::Response head;
    head.headers.emplace_back("Content-Type", "text/plain");
    responder_->begin_stream(std::move(head));
    responder_->on_close([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->gone_.store(true);
    });
    turn();
}

void LogSession::end() { responder_->end_stream(); }

void LogSession::again() {
    if (!workers_.run([self = shared_from_this()] { self->turn(); })) {
        if (!gone_.load()) log::warn(kComponent, "a log is cut short: too much is waiting");
        end();
    }
}

void LogSession::turn() {
    if (gone_.load()) return;
    const std::uint64_t seen = watching_ ? watch_->changes(reader_.path()) : 0;
    std::string out;
    const auto state = reader_.read(&out);
    if (!state) {
        log::warn(kComponent, "{}", state.error().message);
        end();
        return;
    }
    const bool wrote = !out.empty();
    if (wrote && !responder_->write(std::move(out))) return;
    switch (*state) {
        case logs::LogReader::State::kFinished:
            end();
            return;
        case logs::LogReader::State::kCaughtUp:
            caught_up(seen);
            return;
        case logs::LogReader::State::kMore:
            // One piece a turn, so that a large log does not keep others waiting.
            responder_->when_writable([self = shared_from_this()] { self->again(); });
            return;
    }
}

void LogSession::caught_up(std::uint64_t seen) {
    if (!watching_ || last_round_) {
        end();
        return;
    }
    if (!is_running_()) {
        // It may have written between the read and its end.
        last_round_ = true;
        again();
        return;
    }
    watch_->wait(reader_.path(), seen, [self = shared_from_this()] { self->again(); });
}

}  // namespace sluice::kubelet
