#include "control/controllers/pod_status.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::controllers {
namespace {

bool has_ended(const Pod& pod) {
    return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

int phase_rank(const Pod& pod) {
    if (pod.status().phase() == "Pending" || pod.status().phase().empty()) return 0;
    return pod.status().phase() == "Unknown" ? 1 : 2;
}

std::int64_t deletion_cost(const Pod& pod) {
    const auto found = pod.metadata().annotations().find(kDeletionCostAnnotation);
    if (found == pod.metadata().annotations().end()) return 0;
    std::int32_t cost = 0;
    const char* end = found->second.data() + found->second.size();
    const auto read = std::from_chars(found->second.data(), end, cost);
    return read.ec == std::errc() && read.ptr == end ? cost : 0;
}

int restarts(const Pod& pod) {
    int most = 0;
    for (const auto& status : pod.status().containerstatuses()) {
        most = std::max(most, status.restartcount());
    }
    return most;
}

// The power of two that an age lies in; -1 for what has not begun.
int age_class(std::int64_t since_s, std::int64_t now_ns) {
    const double age = static_cast<double>(now_ns) - static_cast<double>(since_s) * 1e9;
    return age > 0 ? static_cast<int>(std::log2(age)) : -1;
}

// What the order looks at, read once a pod.
struct Rank {
    PodPtr pod;
    bool assigned;
    int phase;
    bool ready;
    std::int64_t cost;
    int related;
    int ready_class;
    int restart_count;
    int created_class;
};

bool goes_first(const Rank& a, const Rank& b) {
    if (a.assigned != b.assigned) return !a.assigned;
    if (a.phase != b.phase) return a.phase < b.phase;
    if (a.ready != b.ready) return !a.ready;
    if (a.cost != b.cost) return a.cost < b.cost;
    if (a.related != b.related) return a.related > b.related;
    if (a.ready_class != b.ready_class) return a.ready_class < b.ready_class;
    if (a.restart_count != b.restart_count) return a.restart_count > b.restart_count;
    if (a.created_class != b.created_class) return a.created_class < b.created_class;
    return a.pod->metadata().uid() < b.pod->metadata().uid();
}

}  // namespace

bool is_deleting(const Pod& pod) { return pod.metadata().has_deletiontimestamp(); }

bool is_active(const Pod& pod) { return !has_ended(pod) && !is_deleting(pod); }

bool is_terminating(const Pod& pod) { return !has_ended(pod) && is_deleting(pod); }

std::optional<std::int64_t> ready_since(const Pod& pod) {
    for (const auto& condition : pod.status().conditions()) {
        if (condition.type() != "Ready") continue;
        if (condition.status() != "True") return std::nullopt;
        return condition.lasttransitiontime().seconds();
    }
    return std::nullopt;
}

bool is_ready(const Pod& pod) { return ready_since(pod).has_value(); }

bool is_available(const Pod& pod, int min_ready_seconds, std::int64_t now_ns) {
    const auto since = ready_since(pod);
    if (!since) return false;
    if (min_ready_seconds <= 0) return true;
    return *since != 0 && (*since + min_ready_seconds) <= now_ns / kSecondNs;
}

std::optional<std::int64_t> next_available_ns(const Pods& pods, int min_ready_seconds,
                                              std::int64_t now_ns) {
    std::optional<std::int64_t> next;
    for (const auto& pod : pods) {
        const auto since = ready_since(*pod);
        if (!since || is_available(*pod, min_ready_seconds, now_ns)) continue;
        const std::int64_t wait =
            std::max<std::int64_t>(1, (*since + min_ready_seconds) * kSecondNs - now_ns);
        next = next ? std::min(*next, wait) : wait;
    }
    return next;
}

void sort_for_deletion(Pods* pods, const std::map<std::string, int>& related, std::int64_t now_ns) {
    std::vector<Rank> ranks;
    ranks.reserve(pods->size());
    for (const auto& pod : *pods) {
        const auto since = ready_since(*pod);
        const auto beside = related.find(pod->spec().nodename());
        ranks.push_back({pod, !pod->spec().nodename().empty(), phase_rank(*pod), since.has_value(),
                         deletion_cost(*pod), beside == related.end() ? 0 : beside->second,
                         age_class(since.value_or(0), now_ns), restarts(*pod),
                         age_class(pod->metadata().creationtimestamp().seconds(), now_ns)});
    }
    std::sort(ranks.begin(), ranks.end(), goes_first);
    for (std::size_t i = 0; i < ranks.size(); ++i) (*pods)[i] = std::move(ranks[i].pod);
}

int scaled_value(const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& value, int total,
                 bool round_up) {
    if (value.type() == 0) return std::max(0, value.intval());
    const std::string& text = value.strval();
    std::int64_t percent = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), percent);
    if (read.ec != std::errc() || read.ptr + 1 != text.data() + text.size() || *read.ptr != '%' ||
        percent < 0 || percent > 1'000'000) {
        return 0;
    }
    const std::int64_t hundredfold = percent * total;
    const std::int64_t scaled = round_up ? (hundredfold + 99) / 100 : hundredfold / 100;
    return static_cast<int>(std::min<std::int64_t>(scaled, INT32_MAX));
}

std::string template_hash(const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template,
                          std::optional<int> collision_count) {
    std::string bytes;
    {
        google::protobuf::io::StringOutputStream stream(&bytes);
        google::protobuf::io::CodedOutputStream coded(&stream);
        coded.SetSerializationDeterministic(true);
        pod_template.SerializeToCodedStream(&coded);
    }
    if (collision_count) bytes += "/" + std::to_string(*collision_count);
    std::uint32_t hash = 2'166'136'261U;
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
    constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
    std::string out;
    for (const char digit : std::to_string(hash)) {
        out += kLetters[static_cast<std::size_t>(digit) % kLetters.size()];
    }
    return out;
}

}  // namespace sluice::controllers
