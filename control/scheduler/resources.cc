// See resources.h.
#include "control/scheduler/resources.h"

#include <algorithm>
#include <limits>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using QuantityMap =
    ::google::protobuf::Map<std::string, ::k8s::io::apimachinery::pkg::api::resource::Quantity>;

std::int64_t capped_sum(std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    return __builtin_add_overflow(a, b, &out) ? std::numeric_limits<std::int64_t>::max() : out;
}

void set_other(std::vector<std::pair<std::string, std::int64_t>>* list, const std::string& name,
               std::int64_t amount) {
    const auto place = std::lower_bound(list->begin(), list->end(), name,
                                        [](const auto& a, const auto& b) { return a.first < b; });
    if (place != list->end() && place->first == name) {
        place->second = amount;
    } else {
        list->emplace(place, name, amount);
    }
}

// pods: where the resource of that name goes; null where it has no meaning.
Result<Resources> read(const QuantityMap& map, std::int64_t* pods) {
    Resources out;
    for (const auto& [name, text] : map) {
        auto quantity = codec::Quantity::parse(text.string());
        if (!quantity) return quantity.error().with_context(name);
        if (quantity->is_negative()) {
            return make_error(Code::kInvalidArgument, "{}: {} is negative", name, text.string());
        }
        if (name == "cpu") {
            out.milli_cpu = quantity->milli();
        } else if (name == "memory") {
            out.memory = quantity->units();
        } else if (name == "ephemeral-storage") {
            out.ephemeral_storage = quantity->units();
        } else if (name == "pods") {
            if (pods != nullptr) *pods = quantity->units();
        } else if (!quantity->is_zero()) {
            set_other(&out.other, name, quantity->units());
        }
    }
    return out;
}

Result<PodResources> container_resources(const corev1::Container& container) {
    const auto& requests = container.resources().requests();
    auto read_requests = read(requests, nullptr);
    if (!read_requests) {
        return read_requests.error().with_context("container " + container.name());
    }
    PodResources out{std::move(*read_requests), 0, 0};
    out.scored_milli_cpu = requests.contains("cpu") ? out.requests.milli_cpu : kDefaultMilliCpu;
    out.scored_memory = requests.contains("memory") ? out.requests.memory : kDefaultMemoryBytes;
    return out;
}

void add(PodResources* sum, const PodResources& more) {
    sum->requests.add(more.requests);
    sum->scored_milli_cpu = capped_sum(sum->scored_milli_cpu, more.scored_milli_cpu);
    sum->scored_memory = capped_sum(sum->scored_memory, more.scored_memory);
}

void raise(PodResources* value, const PodResources& floor) {
    value->requests.raise_to(floor.requests);
    value->scored_milli_cpu = std::max(value->scored_milli_cpu, floor.scored_milli_cpu);
    value->scored_memory = std::max(value->scored_memory, floor.scored_memory);
}

}  // namespace

std::int64_t Resources::other_amount(const std::string& name) const {
    const auto place = std::lower_bound(other.begin(), other.end(), name,
                                        [](const auto& a, const auto& b) { return a.first < b; });
    return place != other.end() && place->first == name ? place->second : 0;
}

void Resources::add(const Resources& more) {
    milli_cpu = capped_sum(milli_cpu, more.milli_cpu);
    memory = capped_sum(memory, more.memory);
    ephemeral_storage = capped_sum(ephemeral_storage, more.ephemeral_storage);
    for (const auto& [name, amount] : more.other) {
        set_other(&other, name, capped_sum(other_amount(name), amount));
    }
}

void Resources::raise_to(const Resources& floor) {
    milli_cpu = std::max(milli_cpu, floor.milli_cpu);
    memory = std::max(memory, floor.memory);
    ephemeral_storage = std::max(ephemeral_storage, floor.ephemeral_storage);
    for (const auto& [name, amount] : floor.other) {
        if (other_amount(name) < amount) set_other(&other, name, amount);
    }
}

void Resources::replace_with(const Resources& others) {
    if (others.milli_cpu > 0) milli_cpu = others.milli_cpu;
    if (others.memory > 0) memory = others.memory;
    if (others.ephemeral_storage > 0) ephemeral_storage = others.ephemeral_storage;
    for (const auto& [name, amount] : others.other) set_other(&other, name, amount);
}

void ResourceTotals::add(const Resources& pod) {
    milli_cpu += pod.milli_cpu;
    memory += pod.memory;
    ephemeral_storage += pod.ephemeral_storage;
    for (const auto& [name, amount] : pod.other) other[name] += amount;
}

void ResourceTotals::subtract(const Resources& pod) {
    milli_cpu -= pod.milli_cpu;
    memory -= pod.memory;
    ephemeral_storage -= pod.ephemeral_storage;
    for (const auto& [name, amount] : pod.other) {
        const auto found = other.find(name);
        SLUICE_ASSERT(found != other.end() && found->second >= amount);
        found->second -= amount;
        if (found->second == 0) other.erase(found);
    }
}

Result<PodResources> pod_resources(const corev1::PodSpec& spec) {
    PodResources running;
    for (const auto& container : spec.containers()) {
        SLUICE_TRY_ASSIGN(const PodResources asked, container_resources(container));
        add(&running, asked);
    }
    PodResources sidecars;
    PodResources starting;
    for (const auto& container : spec.initcontainers()) {
        SLUICE_TRY_ASSIGN(PodResources asked, container_resources(container));
        if (container.restartpolicy() == "Always") {
            add(&running, asked);
            add(&sidecars, asked);
            asked = sidecars;
        } else {
            add(&asked, sidecars);
        }
        raise(&starting, asked);
    }
    raise(&running, starting);
    if (spec.has_resources()) {
        auto whole = read(spec.resources().requests(), nullptr);
        if (!whole) return whole.error().with_context("spec.resources.requests");
        running.requests.replace_with(*whole);
        if (whole->milli_cpu > 0) running.scored_milli_cpu = whole->milli_cpu;
        if (whole->memory > 0) running.scored_memory = whole->memory;
    }
    auto overhead = read(spec.overhead(), nullptr);
    if (!overhead) return overhead.error().with_context("spec.overhead");
    running.requests.add(*overhead);
    running.scored_milli_cpu = capped_sum(running.scored_milli_cpu, overhead->milli_cpu);
    running.scored_memory = capped_sum(running.scored_memory, overhead->memory);
    return running;
}

Result<NodeResources> node_resources(const corev1::NodeStatus& status) {
    NodeResources out;
    auto allocatable = read(status.allocatable(), &out.pods);
    if (!allocatable) return allocatable.error().with_context("status.allocatable");
    out.allocatable = std::move(*allocatable);
    return out;
}

}  // namespace sluice::scheduler
