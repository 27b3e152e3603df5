#include "control/apiserver/flowcontrol/estimate.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

namespace sluice::flowcontrol {
namespace {

using authorization::Attributes;

// More than any level has; what is larger changes nothing.
constexpr std::uint64_t kVeryMany = 1'000'000'000;
constexpr Work kLargest{kVeryMany, 0};
// What nobody has counted for so long is no longer there.
constexpr std::chrono::hours kForgottenAfter{1};

std::string resource_of(const Attributes& asked) {
    return asked.group.empty() ? asked.resource : asked.resource + "." + asked.group;
}

std::uint64_t divided_up(std::uint64_t value, std::uint64_t by) { return value / by + (value % by != 0 ? 1 : 0); }

// nullopt: it is no number, and the request will be refused.
std::optional<std::uint64_t> limit_of(const http::Request& request) {
    const std::string_view text = request.parameter("limit").value_or("");
    if (text.empty()) return 0;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value));
}

bool wants_initial_events(const http::Request& request) {
    const auto value = request.parameter("sendInitialEvents");
    return value && (*value == "true" || *value == "1");
}

Work list_work(const http::Request& request, const Attributes& asked, const ObjectCounts& objects) {
    // One object, whatever the verb.
    if (!asked.name.empty()) return {};
    const auto limit = limit_of(request);
    if (!limit) return kLargest;
    const auto stored = objects.find(resource_of(asked));
    if (!stored) return {};
    if (*stored == UINT64_MAX) return kLargest;
    const auto given = [&request](const char* name) { return !request.parameter(name).value_or("").empty(); };
    const std::string_view version = request.parameter("resourceVersion").value_or("");
    const std::string_view match = request.parameter("resourceVersionMatch").value_or("");
    // What Kubernetes reads from its cache, and here is read from the same place as all else.
    const bool whole = asked.verb == "watch" || (!given("continue") && (*limit == 0 || version == "0") &&
                                                 (match.empty() || match == "NotOlderThan"));
    const std::uint64_t page = *limit == 0 ? *stored : std::min(*limit, *stored);
    std::uint64_t read = 2 * page;
    if (whole) {
        read = *stored;
    } else if (given("fieldSelector") || given("labelSelector")) {
        read = *stored + page;
    }
    return {std::max<std::uint64_t>(1, divided_up(read, kObjectsPerSeat)), 0};
}

bool is_change(std::string_view verb) {
    return verb == "create" || verb == "update" || verb == "patch" || verb == "delete";
}

}  // namespace

Width width_of(const Work& work, std::uint32_t most) {
    most = std::clamp<std::uint32_t>(most, 1, kMaxRequestSeats);
    const auto cut = [most](std::uint64_t seats) {
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(seats, most));
    };
    Width out;
    out.seats = std::max<std::uint32_t>(1, cut(std::max(work.seats, work.final_seats)));
    if (work.final_seats > 0) {
        const auto total = kEventTime * static_cast<std::int64_t>(std::min(work.final_seats, kVeryMany));
        out.after = total / std::max<std::uint32_t>(1, cut(work.final_seats));
    }
    return out;
}

void ObjectCounts::renew(const std::vector<std::pair<std::string, std::uint64_t>>& objects, Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    for (const auto& [resource, count] : objects) {
        counts_[resource] = {std::min(count, kVeryMany), now};
    }
    std::erase_if(counts_, [now](const auto& entry) { return now - entry.second.at > kForgottenAfter; });
}

std::optional<std::uint64_t> ObjectCounts::find(const std::string& resource, Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    const auto found = counts_.find(resource);
    if (found == counts_.end()) return std::nullopt;
    return now - found->second.at > kStaleAfter ? UINT64_MAX : found->second.objects;
}

std::string WatchCounts::key(const Attributes& about, const std::string& name_space, const std::string& name) {
    // None of them has a slash in it, once it was a part of a path.
    return about.group + "/" + about.resource + "/" + name_space + "/" + name;
}

struct WatchCounts::Topic {
    Topic(std::shared_ptr<WatchCounts> counts_in, std::string key_in)
        : counts(std::move(counts_in)), key(std::move(key_in)) {}
    ~Topic() {
        const std::lock_guard lock(counts->mutex_);
        const auto found = counts->counts_.find(key);
        if (--found->second == 0) counts->counts_.erase(found);
    }
    Topic(const Topic&) = delete;
    Topic& operator=(const Topic&) = delete;

    const std::shared_ptr<WatchCounts> counts;
    const std::string key;
};

std::shared_ptr<void> WatchCounts::add(const Attributes& watch) {
    std::string topic = key(watch, watch.namespace_name, watch.name);
    {
        const std::lock_guard lock(mutex_);
        ++counts_[topic];
    }
    return std::make_shared<Topic>(shared_from_this(), std::move(topic));
}

std::size_t WatchCounts::interested(const Attributes& change) const {
    const std::lock_guard lock(mutex_);
    const auto count = [&](const std::string& name_space, const std::string& name) {
        const auto found = counts_.find(key(change, name_space, name));
        return found == counts_.end() ? std::size_t{0} : found->second;
    };
    std::size_t out = count("", "");
    if (!change.namespace_name.empty()) out += count(change.namespace_name, "");
    if (!change.name.empty()) out += count(change.namespace_name, change.name);
    return out;
}

Work estimate(const http::Request& request, const Attributes& asked, const ObjectCounts& objects,
              const WatchCounts& watches) {
    if (!asked.is_resource) return {};
    if (asked.verb == "list" || (asked.verb == "watch" && wants_initial_events(request))) {
        return list_work(request, asked, objects);
    }
    // A token is made for an account, and the account stays as it is.
    const bool token = asked.group.empty() && asked.resource == "serviceaccounts" && asked.subresource == "token";
    if (!is_change(asked.verb) || token) return {};
    const std::size_t told = watches.interested(asked);
    return {1, told >= kWatchesPerSeat ? divided_up(told, kWatchesPerSeat) : 0};
}

}  // namespace sluice::flowcontrol
