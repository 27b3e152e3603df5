#include "control/apiserver/aggregator/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "api/base/log.h"
#include "api/base/metrics_text.h"

namespace sluice::aggregator {
namespace {

constexpr std::string_view kComponent = "aggregator";
constexpr int kClientThreads = 1;
constexpr int kOk = 200;
constexpr int kMultipleChoices = 300;
constexpr int kNotFound = 404;
constexpr const char* kAggregatedAccept =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
constexpr std::string_view kAggregatedMark = "as=APIGroupDiscoveryList";

std::string_view header(const http::ClientAnswer& answer, std::string_view name) {
    for (const auto& [key, value] : answer.headers) {
        if (key == name) return value;
    }
    return {};
}

Availability failed(std::string why) { return {"False", "FailedDiscoveryCheck", std::move(why)}; }

}  // namespace

struct Checks::Look {
    struct Asked {
        std::string url;
        std::unique_ptr<http::Client::Call> call;
    };
    RemotePtr remote;
    Clock::time_point deadline;
    std::vector<Asked> asked;       // whether it is there, of several places
    std::vector<Asked> discovery;   // then /apis and /openapi/v3, of the place that answered
    std::size_t place = 0;          // that answered
    Availability state;
    std::string legacy;             // the version's APIResourceList
    RemoteVersion served;
};

Checks::Checks(WriteCondition write, Publish publish)
    : write_(std::move(write)), publish_(std::move(publish)), client_(http::Client::create(kClientThreads)) {}

Checks::~Checks() { Checks::stop(); }

void Checks::start() {
    thread_ = std::thread([this] { work(); });
}

void Checks::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void Checks::set(std::shared_ptr<const RemoteMap> remotes) {
    const std::lock_guard lock(mutex_);
    std::map<std::string, State> next;
    for (const auto& [group_version, remote] : *remotes) {
        State& state = next[remote->name];
        if (const auto known = states_.find(remote->name); known != states_.end()) state = std::move(known->second);
        const bool changed = state.fingerprint != remote->fingerprint;
        const bool priorities = state.remote == nullptr || state.remote->group_priority != remote->group_priority ||
                                state.remote->version_priority != remote->version_priority;
        if (changed || priorities) published_stale_ = true;
        state.remote = remote;
        state.fingerprint = remote->fingerprint;
        state.served.group = remote->group;
        state.served.version = remote->version;
        state.served.group_priority = remote->group_priority;
        state.served.version_priority = remote->version_priority;
        if (changed) {
            state.due = Clock::now();
            state.retry = kFirstRetryInterval;
        }
    }
    if (next.size() != states_.size()) published_stale_ = true;
    states_ = std::move(next);
    wake_.notify_all();
}

// The remotes' questions go out together, so that one server that does not answer delays no other.
void Checks::look_at(std::vector<RemotePtr> remotes) {
    std::vector<Look> looks;
    for (RemotePtr& remote : remotes) {
        Look look;
        look.served.group = remote->group;
        look.served.version = remote->version;
        look.served.group_priority = remote->group_priority;
        look.served.version_priority = remote->version_priority;
        look.remote = std::move(remote);
        look.deadline = Clock::now() + kCheckTimeout;
        looks.push_back(std::move(look));
    }
    for (Look& look : looks) ask(look);
    for (Look& look : looks) hear(look);
    for (Look& look : looks) conclude(look);
}

void Checks::ask(Look& look) {
    const Remote& remote = *look.remote;
    if (remote.missing) {
        look.state = *remote.missing;
        return;
    }
    if (remote.tls == nullptr) {
        look.state = failed(remote.tls_error);
        return;
    }
    const std::size_t count = std::min(remote.places.size(), kMaxAskedPlaces);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t place = turn_++;
        http::DialRequest request = remote.dial(place);
        request.target = remote.path();
        request.timeout_ms = static_cast<std::uint32_t>(kCheckTimeout.count());
        request.headers = {{"Accept", "application/json"},
                           {"X-Remote-User", "system:kube-aggregator"},
                           {"X-Remote-Group", "system:masters"}};
        const std::string host = remote.shown_place(place);
        std::string url = fmt::format("https://{}{}", host, request.target);
        look.asked.push_back({std::move(url), client_->start(std::move(request), host, "")});
    }
    look.place = turn_ - count;
}

void Checks::hear(Look& look) {
    const std::size_t first = look.place;
    for (std::size_t i = 0; i < look.asked.size(); ++i) {
        auto& [url, call] = look.asked[i];
        auto answer = call->wait(look.deadline);
        if (!answer) {
            look.state = failed(fmt::format("failing or missing response from {}: Get \"{}\": {}", url, url,
                                            answer.error().message));
        } else if (answer->status < kOk || answer->status >= kMultipleChoices) {
            look.state = failed(fmt::format("failing or missing response from {}: bad status from {}: {}", url, url,
                                            answer->status));
        } else {
            look.state = {"True", "Passed", "all checks passed"};
            look.legacy = std::move(answer->body);
            look.place = first + i;
            break;
        }
    }
    look.asked.clear();
    if (look.state.status != "True") return;
    for (const char* target : {"/apis", "/openapi/v3"}) {
        http::DialRequest request = look.remote->dial(look.place);
        request.target = target;
        request.timeout_ms = static_cast<std::uint32_t>(kCheckTimeout.count());
        request.headers = {{"Accept", std::string_view(target) == "/apis" ? kAggregatedAccept : "application/json"},
                           {"X-Remote-User", "system:kube-aggregator"},
                           {"X-Remote-Group", "system:masters"}};
        const std::string host = look.remote->shown_place(look.place);
        look.discovery.push_back({target, client_->start(std::move(request), host, "")});
    }
}

void Checks::conclude(Look& look) {
    RemoteVersion& served = look.served;
    std::optional<std::string> hash;  // if the index could be read
    if (look.state.status == "True") {
        const auto apis = look.discovery[0].call->wait(look.deadline);
        const bool aggregated = apis && apis->status == kOk &&
                                header(*apis, "content-type").find(kAggregatedMark) != std::string_view::npos;
        auto resources = aggregated ? resources_of_aggregated(apis->body, served.group, served.version)
                                    : resources_of_legacy(look.legacy, served.group, served.version);
        if (resources) {
            served.resources = std::move(*resources);
            served.stale = false;
        } else {
            log::warn(kComponent, "apiservice={} discovery cannot be read: {}", look.remote->name,
                      resources.error().message);
        }
        const auto index = look.discovery[1].call->wait(look.deadline);
        if (index && index->status == kOk) {
            if (auto found = openapi_hash_of(index->body, served.group, served.version)) hash = std::move(*found);
        } else if (index && index->status == kNotFound) {
            hash.emplace();
        }
    }
    bool write = false;
    {
        const std::lock_guard lock(mutex_);
        const auto found = states_.find(look.remote->name);
        // Another one by now, which is looked at next.
        if (found == states_.end() || found->second.fingerprint != look.remote->fingerprint) return;
        State& state = found->second;
        const bool there = look.state.status == "True";
        if (!there && state.last.status != look.state.status) {
            ++state.failures[look.state.reason];
        }
        // What it served last is still shown, as what it may serve again.
        if (served.stale) served.resources = state.served.resources;
        served.openapi_hash = served.stale || !hash ? state.served.openapi_hash : *hash;
        if (!(state.served == served)) published_stale_ = true;
        state.served = served;
        write = true;
        state.last = look.state;
        state.due = Clock::now() + (there ? kCheckInterval : state.retry);
        state.retry = there ? kFirstRetryInterval : std::min(state.retry * 2, kCheckInterval);
    }
    if (write) write_(look.remote->name, look.state);
}

void Checks::work() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        const auto now = Clock::now();
        auto next = now + kCheckInterval;
        std::vector<RemotePtr> due;
        for (const auto& [name, state] : states_) {
            if (state.due <= now) {
                due.push_back(state.remote);
            } else {
                next = std::min(next, state.due);
            }
        }
        const bool publishes = published_stale_;
        if (due.empty() && !publishes) {
            wake_.wait_until(lock, next);
            continue;
        }
        std::vector<RemoteVersion> versions;
        if (publishes) {
            published_stale_ = false;
            for (const auto& [name, state] : states_) versions.push_back(state.served);
        }
        lock.unlock();
        if (publishes) publish_(std::move(versions));
        if (!due.empty()) look_at(std::move(due));
        lock.lock();
    }
}

std::string Checks::metrics() const {
    std::string out;
    const std::lock_guard lock(mutex_);
    metrics_text::head(&out, "aggregator_unavailable_apiservice", "gauge",
                       "Whether the server of an APIService cannot be reached.");
    for (const auto& [name, state] : states_) {
        if (state.last.status.empty()) continue;
        fmt::format_to(std::back_inserter(out), "aggregator_unavailable_apiservice{{name=\"{}\"}} {}\n",
                       metrics_text::escaped(name), state.last.status == "True" ? 0 : 1);
    }
    metrics_text::head(&out, "aggregator_unavailable_apiservice_total", "counter",
                       "How often servers of APIServices could not be reached any more, by why.");
    for (const auto& [name, state] : states_) {
        for (const auto& [reason, count] : state.failures) {
            fmt::format_to(std::back_inserter(out),
                           "aggregator_unavailable_apiservice_total{{name=\"{}\",reason=\"{}\"}} {}\n",
                           metrics_text::escaped(name), reason, count);
        }
    }
    return out;
}

}  // namespace sluice::aggregator
