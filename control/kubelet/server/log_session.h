// One client's `logs`: reads on a worker as fast as the client takes it, and when following waits for the file without
// holding a thread.
//
//   read a piece -> write -> client has room -> read ... -> caught up: ended, or wait for the file -> read
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "control/http/server.h"
#include "control/kubelet/logs/log_reader.h"
#include "control/kubelet/logs/log_watch.h"
#include "control/kubelet/server/workers.h"

namespace sluice::kubelet {

class LogSession : public std::enable_shared_from_this<LogSession> {
public:
    // watch: null unless following. is_running says whether the container may still write. workers and watch outlive
    // the session.
    LogSession(logs::LogReader reader, std::shared_ptr<http::Responder> responder,
               Workers& workers, logs::LogWatch* watch, std::function<bool()> is_running);
    ~LogSession();
    LogSession(const LogSession&) = delete;
    LogSession& operator=(const LogSession&) = delete;

    // On a worker. Sends the head and what is there.
    void start();

private:
    void turn();
    void again();
    void caught_up(std::uint64_t seen);
    void end();

    logs::LogReader reader_;
    std::shared_ptr<http::Responder> responder_;
    Workers& workers_;
    logs::LogWatch* watch_;
    bool watching_ = false;
    std::function<bool()> is_running_;
    bool last_round_ = false;  // the container has ended; what is there now is all
    std::atomic<bool> gone_{false};
};

}  // namespace sluice::kubelet
