// How many seats a request takes, from what it will make the server do: a list reads many objects, a change is told to
// many watches. The rules are those of kube-apiserver 1.32 (its work estimators), with its default numbers.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/apiserver/authorization/attributes.h"
#include "control/http/server.h"

namespace sluice::flowcontrol {

inline constexpr std::uint32_t kMaxRequestSeats = 10;
inline constexpr std::uint32_t kObjectsPerSeat = 100;
inline constexpr std::uint32_t kWatchesPerSeat = 10;
// What a seat is needed for once a change is answered, while watches are told of it.
inline constexpr std::chrono::microseconds kEventTime{5'000};
// A count that nobody has renewed for so long says that the server is in trouble: lists are taken for large ones.
inline constexpr std::chrono::minutes kStaleAfter{4};

// Of one request, before it is known how much its level can give.
struct Work {
    std::uint64_t seats = 1;        // until it is answered
    std::uint64_t final_seats = 0;  // afterwards, for kEventTime; 0: none
};

// The same within limits. A request holds as many seats as it needs at any time all the time.
struct Width {
    std::uint32_t seats = 1;
    std::chrono::microseconds after{0};  // held for so long once it is answered
};
// most: what the level has for one request, kMaxRequestSeats at most. What does not fit takes longer instead.
[[nodiscard]] Width width_of(const Work& work, std::uint32_t most);

// Stored objects by resource ("pods", "deployments.apps"), as they were counted last. Thread-safe.
class ObjectCounts {
public:
    using Clock = std::chrono::steady_clock;

    // Resources that are not in it keep what was counted before.
    void renew(const std::vector<std::pair<std::string, std::uint64_t>>& objects, Clock::time_point now = Clock::now());
    // nullopt: nobody has counted them, as of a resource that another server has. UINT64_MAX: too long ago.
    [[nodiscard]] std::optional<std::uint64_t> find(const std::string& resource,
                                                    Clock::time_point now = Clock::now()) const;

private:
    struct Count {
        std::uint64_t objects = 0;
        Clock::time_point at;
    };
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Count> counts_;
};

// Open watches by what they are about. Thread-safe.
class WatchCounts : public std::enable_shared_from_this<WatchCounts> {
public:
    // One more, until what is returned goes.
    [[nodiscard]] std::shared_ptr<void> add(const authorization::Attributes& watch);
    // Those that a change may have to be told to: of the whole resource, of the namespace, of the object.
    [[nodiscard]] std::size_t interested(const authorization::Attributes& change) const;

private:
    struct Topic;
    static std::string key(const authorization::Attributes& about, const std::string& name_space,
                           const std::string& name);

    mutable std::mutex mutex_;
    std::unordered_map<std::string, std::size_t> counts_;
};

[[nodiscard]] Work estimate(const http::Request& request, const authorization::Attributes& asked,
                            const ObjectCounts& objects, const WatchCounts& watches);

}  // namespace sluice::flowcontrol
