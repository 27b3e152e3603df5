// What the metrics show of etcd: requests by operation and type with their durations, and its size.
#include <algorithm>

#include "control/store/etcd/etcd_store_private.h"

namespace sluice::store {

namespace {

// Operations and types that are counted apart; what comes later counts as type "other".
constexpr std::size_t kMaxRequestRows = 1'024;

}  // namespace

std::string request_type(std::string_view key, std::string_view prefix) {
    key.remove_prefix(std::min(prefix.size(), key.size()));
    const auto cut = [&key] {
        const std::size_t slash = key.find('/');
        const std::string_view word = key.substr(0, slash);
        key.remove_prefix(slash == std::string_view::npos ? key.size() : slash + 1);
        return word;
    };
    const std::string_view first = cut();
    if (first == "minions") {
        return "nodes";
    }
    if (first == "services") {
        return cut() == "endpoints" ? "endpoints" : "services";
    }
    if (first.find('.') == std::string_view::npos) {
        return std::string(first);
    }
    return std::string(cut()) + "." + std::string(first);
}

void EtcdStore::note_request(const char* operation, std::string type, Clock::time_point began,
                             bool ok) {
    const auto took = Clock::now() - began;
    const auto took_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(took).count());
    const auto* bucket = std::lower_bound(
        kRequestBucketsMs.begin(), kRequestBucketsMs.end(), took_us,
        [](std::uint32_t bound_ms, std::uint64_t us) { return std::uint64_t{bound_ms} * 1'000 < us; });
    std::lock_guard guard(mutex_);
    std::string name = std::string(operation) + " " + type;
    if (requests_.size() >= kMaxRequestRows && !requests_.contains(name)) {
        type = "other";
        name = std::string(operation) + " other";
    }
    RequestFigures& figures = requests_[name];
    if (figures.requests == 0) {
        figures.operation = operation;
        figures.type = std::move(type);
    }
    ++figures.requests;
    figures.errors += ok ? 0 : 1;
    figures.duration_us += took_us;
    ++figures.buckets[static_cast<std::size_t>(bucket - kRequestBucketsMs.begin())];
}

void EtcdStore::ask_for_size() {
    call_at<pb::StatusResponse>(
        *cluster_->current().maintenance, &pb::Maintenance::Stub::AsyncStatus, pb::StatusRequest(),
        Clock::now() + options_.request_timeout,
        [this](const grpc::Status& status, const pb::StatusResponse& answer) {
            if (status.ok() && answer.dbsize() >= 0) {
                size_bytes_.store(static_cast<std::uint64_t>(answer.dbsize()),
                                  std::memory_order_relaxed);
            }
        });
}

}  // namespace sluice::store
