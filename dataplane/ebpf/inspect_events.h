// Following the flow log of api/abi/event.h, without the agent.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/abi/event.h"
#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::dataplane {

struct EventView {
    std::uint64_t time_ns = 0;  // CLOCK_MONOTONIC
    std::string kind;           // "opened", "refused", "dropped"
    std::string reason;         // of the drop list, empty if opened
    Protocol protocol = Protocol::kTcp;
    std::string place;  // "pod", "node", "egress", "to-pod", "socket"
    // Unspecified: not known, as a socket's own address before it connects.
    IpAddress client, destination, backend, source;
    std::uint16_t client_port = 0, destination_port = 0, backend_port = 0, source_port = 0;
    bool has_service = false, source_nat = false, affinity = false;
    std::uint32_t service_index = 0, backend_index = 0;
    std::string forwarding = "nat";
};

struct FollowOptions {
    bool opened = true;
    bool refused = true;
    bool dropped = true;
    std::uint32_t sample = 1;  // one event of so many, by chance; at least 1
};

// The log is on for so long after a follower was killed.
inline constexpr std::chrono::seconds kFollowLease{5};

// The settings that options stand for. kInvalidArgument: no sample.
Result<sluice_log_config> log_settings(const FollowOptions& options);
std::uint64_t follow_until_ns();  // a lease from now on
EventView event_view(const sluice_event& event);

// Who follows a node's flow log: one at a time, for a ring has one reader. The log is on while an object lives. One
// thread.
class EventSource {
public:
    EventSource() = default;
    EventSource(const EventSource&) = delete;
    EventSource& operator=(const EventSource&) = delete;
    virtual ~EventSource() = default;

    // Waits for events, at most for `timeout` (bounded by half the lease, which it renews), and visits those there are.
    // Returns how many.
    virtual Result<std::size_t> poll(std::chrono::milliseconds timeout,
                                     const std::function<void(const EventView&)>& visit) = 0;
    // Events that found the ring full since it was opened.
    [[nodiscard]] virtual std::uint64_t lost() const = 0;
};

// Of the eBPF engine.
class EventFollower final : public EventSource {
public:
    ~EventFollower() override;

    // kNotFound when no engine is there, kAlreadyExists when somebody else follows.
    static Result<std::unique_ptr<EventSource>> open(const std::string& bpffs, const FollowOptions& options);
    Result<std::size_t> poll(std::chrono::milliseconds timeout,
                             const std::function<void(const EventView&)>& visit) override;
    [[nodiscard]] std::uint64_t lost() const override;

private:
    struct State;
    explicit EventFollower(std::unique_ptr<State> state);
    void renew();
    std::unique_ptr<State> state_;
};

}  // namespace sluice::dataplane
