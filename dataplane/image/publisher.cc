#include "dataplane/image/publisher.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/lookup.h"
#include "dataplane/image/reader.h"

namespace sluice::image {
namespace {

std::uint32_t name_units(std::size_t length) {
    return static_cast<std::uint32_t>(length / kNameUnit + 1);
}

// What of a name is kept: names end at a NUL, and have a bounded length.
std::string_view bounded_name(std::string_view name) {
    return name.substr(0, std::min(name.find('\0'), kMaxNameLength - 1));
}

auto place_of(const Backend& backend) {
    return std::tie(backend.address, backend.port);
}

std::uint16_t flags_of(const Backend& backend) {
    return static_cast<std::uint16_t>((backend.local ? SLUICE_BACKEND_LOCAL : 0) |
                                      (backend.terminating ? SLUICE_BACKEND_TERMINATING : 0));
}

// <0, 0, >0 as the record stands before, at or after the backend in the order of sets.
int compare_place(const sluice_backend& record, const Backend& backend) {
    const int by_address = std::memcmp(&record.address, backend.address.bytes.data(), 16);
    return by_address != 0 ? by_address : static_cast<int>(ntohs(record.port_be)) - backend.port;
}

std::uint64_t make_word(std::uint32_t first, std::uint32_t count, std::uint64_t previous) {
    const std::uint64_t generation = (previous >> SLUICE_WORD_GENERATION_SHIFT) + 1;
    return generation << SLUICE_WORD_GENERATION_SHIFT |
           static_cast<std::uint64_t>(count) << SLUICE_WORD_COUNT_SHIFT | first;
}

Result<void> check_set(const Service& service, const BackendSet& set, std::string_view field) {
    if (set.backends.size() > SLUICE_MAX_SET_SIZE) {
        return make_error(Code::kInvalidArgument, "service {}: {} has {} backends, at most {} fit",
                          service.key.display(), field, set.backends.size(), SLUICE_MAX_SET_SIZE);
    }
    for (std::size_t i = 0; i < set.backends.size(); ++i) {
        const Backend& backend = set.backends[i];
        if (backend.port == 0 || backend.address.family() != service.key.family) {
            return make_error(Code::kInvalidArgument,
                              "service {}: {} names backend {} port {}, which is not of its family "
                              "or has no port",
                              service.key.display(), field, backend.address.to_string(),
                              backend.port);
        }
        if (i > 0 && place_of(set.backends[i - 1]) >= place_of(backend)) {
            return make_error(Code::kInvalidArgument,
                              "service {}: {} is not sorted by address and port, or repeats {}",
                              service.key.display(), field, backend.address.to_string());
        }
    }
    return {};
}

Result<void> check_service(const Service& service) {
    SLUICE_TRY(check_set(service, service.internal, "the internal set"));
    SLUICE_TRY(check_set(service, service.external, "the external set"));
    SLUICE_TRY(check_set(service, service.inside, "the external set for clients inside"));
    for (const Frontend& frontend : service.frontends) {
        if (frontend.port == 0) {
            return make_error(Code::kInvalidArgument, "service {}: a frontend has port 0",
                              service.key.display());
        }
        if (frontend.scope == Scope::kAddress &&
            (frontend.address.is_unspecified() ||
             frontend.address.family() != service.key.family)) {
            return make_error(Code::kInvalidArgument,
                              "service {}: frontend address {} is unspecified or not of its family",
                              service.key.display(), frontend.address.to_string());
        }
    }
    return {};
}

}  // namespace

// What an upsert will do, decided before anything is written.
struct Publisher::Plan {
    struct Member {
        const Backend* backend;
        std::uint32_t index;
        bool fresh;
        bool renamed;
        std::uint32_t name;  // for fresh or renamed
        std::array<bool, SLUICE_TRAFFIC_KINDS> in;
    };
    std::vector<Member> members;         // the union of the sets, ordered by place
    std::vector<std::uint32_t> leaving;  // backends of the record that are in no set
    std::array<std::vector<std::uint32_t>, SLUICE_TRAFFIC_KINDS> sets;
    std::array<Run, SLUICE_TRAFFIC_KINDS> runs;
    std::array<bool, SLUICE_TRAFFIC_KINDS> write_run{};
    std::vector<Frontend> frontends;  // unique by key
    std::vector<Claim> claims;        // new or changed; the service index is filled in later
    std::vector<sluice_frontend_key> withdrawals;
    std::uint32_t name = 0;  // of a fresh service
    std::uint32_t index = 0;
};

// Takes from the allocators, and gives back unless kept.
class Publisher::Taken {
public:
    explicit Taken(Publisher& owner) : owner_(owner) {}
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;
    ~Taken() {
        if (kept_) {
            return;
        }
        for (const auto index : backends_) owner_.backends_free_.give_back(index);
        for (const auto index : services_) owner_.services_free_.give_back(index);
        for (const auto& run : sets_) owner_.sets_free_.give_back(run.first, run.count);
        for (const auto& run : names_) owner_.names_free_.give_back(run.first, run.count);
    }
    void keep() { kept_ = true; }

    std::optional<std::uint32_t> backend() { return single(owner_.backends_free_, backends_); }
    std::optional<std::uint32_t> service() { return single(owner_.services_free_, services_); }
    std::optional<std::uint32_t> set(std::uint32_t count) {
        return run(owner_.sets_free_, sets_, count);
    }
    // An offset in bytes; 0 for an empty name.
    std::optional<std::uint32_t> name(std::string_view text) {
        if (text.empty()) {
            return 0;
        }
        const auto unit = run(owner_.names_free_, names_, name_units(text.size()));
        return unit ? std::optional(*unit * kNameUnit) : std::nullopt;
    }

private:
    static std::optional<std::uint32_t> single(IndexAllocator& from,
                                               std::vector<std::uint32_t>& into) {
        const auto index = from.take();
        if (index) {
            into.push_back(*index);
        }
        return index;
    }
    static std::optional<std::uint32_t> run(RunAllocator& from, std::vector<Run>& into,
                                            std::uint32_t count) {
        const auto first = from.take(count);
        if (first) {
            into.push_back({*first, count});
        }
        return first;
    }

    Publisher& owner_;
    bool kept_ = false;
    std::vector<std::uint32_t> backends_;
    std::vector<std::uint32_t> services_;
    std::vector<Run> sets_;
    std::vector<Run> names_;
};

Error Publisher::lack(Table table, const ServiceKey& key) {
    wanted_ = capacities_of(*tables_.header);
    const auto twice = [](std::uint32_t& value) {
        value = value > (1U << 30U) ? value : value * 2;
    };
    switch (table) {
        case Table::kBuckets: twice(wanted_.buckets); break;
        case Table::kFrontends: twice(wanted_.frontends); break;
        case Table::kServices: twice(wanted_.services); break;
        case Table::kSets: twice(wanted_.set_slots); break;
        case Table::kBackends: twice(wanted_.backends); break;
        default: twice(wanted_.name_bytes); break;
    }
    return make_error(Code::kResourceExhausted, "service {}: table {} is full", key.display(),
                      table_specs(wanted_)[static_cast<std::size_t>(table)].name);
}

std::string_view Publisher::name_at(std::uint32_t offset) const {
    return {tables_.names + offset};
}

bool Publisher::run_holds(const Run& run, const std::vector<std::uint32_t>& members) const {
    if (run.count != members.size()) {
        return false;
    }
    for (std::uint32_t i = 0; i < run.count; ++i) {
        if (tables_.sets[run.first + i].backend != members[i]) {
            return false;
        }
    }
    return true;
}

void Publisher::plan_backends(const Service& service, const std::vector<std::uint32_t>& existing,
                              Plan& plan) const {
    const std::array<const std::vector<Backend>*, SLUICE_TRAFFIC_KINDS> sets{
        &service.internal.backends, &service.external.backends, &service.inside.backends};
    std::array<std::size_t, SLUICE_TRAFFIC_KINDS> next{};
    auto old = existing.begin();
    for (;;) {
        const Backend* least = nullptr;
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (next[kind] == sets[kind]->size()) {
                continue;
            }
            const Backend& candidate = (*sets[kind])[next[kind]];
            if (least == nullptr || place_of(candidate) < place_of(*least)) {
                least = &candidate;
            }
        }
        if (least == nullptr) {
            break;
        }
        Plan::Member member{least, 0, true, false, 0, {}};
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (next[kind] < sets[kind]->size() &&
                place_of((*sets[kind])[next[kind]]) == place_of(*least)) {
                member.in[kind] = true;
                ++next[kind];
            }
        }
        while (old != existing.end() &&
               compare_place(tables_.backends[*old], *member.backend) < 0) {
            plan.leaving.push_back(*old++);
        }
        if (old != existing.end() && compare_place(tables_.backends[*old], *member.backend) == 0) {
            const sluice_backend& record = tables_.backends[*old];
            member.index = *old++;
            member.fresh = false;
            member.renamed = name_at(record.name) != bounded_name(member.backend->target);
        }
        plan.members.push_back(member);
    }
    plan.leaving.insert(plan.leaving.end(), old, existing.end());
}

void Publisher::plan_frontends(const Service& service, const Record& record, Plan& plan) const {
    const auto key_of = [&](const Frontend& frontend) {
        return frontend_key(frontend, service.key.protocol, service.key.family);
    };
    const auto same_key = [](const Frontend& a, const Frontend& b) {
        return a.address == b.address && a.port == b.port && a.scope == b.scope;
    };
    plan.frontends = service.frontends;
    for (Frontend& frontend : plan.frontends) {
        if (frontend.scope == Scope::kNodePort) {
            frontend.address = IpAddress{};
        }
    }
    // Of two frontends with one key the internal one wins, which sorts first.
    std::sort(plan.frontends.begin(), plan.frontends.end(), [](const auto& a, const auto& b) {
        return std::tie(a.address, a.port, a.scope, a.external, a.masquerade) <
               std::tie(b.address, b.port, b.scope, b.external, b.masquerade);
    });
    plan.frontends.erase(std::unique(plan.frontends.begin(), plan.frontends.end(), same_key),
                         plan.frontends.end());
    const auto& before = record.frontends;
    for (const Frontend& frontend : plan.frontends) {
        if (std::find(before.begin(), before.end(), frontend) == before.end()) {
            const std::uint32_t flags = (frontend.external ? SLUICE_FRONTEND_EXTERNAL : 0U) |
                                        (frontend.masquerade ? SLUICE_FRONTEND_MASQUERADE : 0U);
            plan.claims.push_back(Claim{key_of(frontend), flags, 0});
        }
    }
    for (const Frontend& frontend : before) {
        const bool stays =
            std::any_of(plan.frontends.begin(), plan.frontends.end(),
                        [&](const Frontend& other) { return same_key(other, frontend); });
        if (!stays) {
            plan.withdrawals.push_back(key_of(frontend));
        }
    }
}

Result<void> Publisher::take_room(const Service& service, Plan& plan, Taken& taken) {
    const ServiceKey& key = service.key;
    if (const auto table = frontends_.lacking(tables_, plan.claims, {})) {
        return lack(*table, key);
    }
    std::size_t handovers = 0;
    for (const auto& withdrawal : plan.withdrawals) {
        handovers += frontends_.contested(withdrawal) ? 1 : 0;
    }
    // lacking() has counted one record for each claim and one for each new address.
    if (handovers > 0 && 2 * plan.claims.size() + handovers > frontends_.records_available()) {
        return lack(Table::kFrontends, key);
    }
    for (Plan::Member& member : plan.members) {
        if (member.fresh) {
            const auto index = taken.backend();
            if (!index) {
                return lack(Table::kBackends, key);
            }
            member.index = *index;
        }
        if (member.fresh || member.renamed) {
            const auto name = taken.name(bounded_name(member.backend->target));
            if (!name) {
                return lack(Table::kNames, key);
            }
            member.name = *name;
        }
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (member.in[kind]) {
                plan.sets[kind].push_back(member.index);
            }
        }
    }
    return {};
}

Result<void> Publisher::upsert(const Service& service) {
    SLUICE_TRY(check_service(service));
    const auto found = records_.find(service.key);
    const bool fresh = found == records_.end();
    Record blank;
    Record& current = fresh ? blank : found->second;
    Plan plan;
    Taken taken(*this);
    std::string identity;
    auto carried = carried_index_.end();

    if (fresh && !carried_index_.empty()) {
        identity = Carried::identity(bounded_name(service.key.display()),
                                     static_cast<std::uint8_t>(service.key.protocol),
                                     static_cast<std::uint8_t>(service.key.family));
        carried = carried_index_.find(identity);
        if (carried != carried_index_.end()) {
            const auto backends = carried_backends_.find(carried->second);
            if (backends != carried_backends_.end()) {
                current.backends = backends->second;
            }
        }
    }
    plan_backends(service, current.backends, plan);
    plan_frontends(service, current, plan);
    SLUICE_TRY(take_room(service, plan, taken));
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const auto& members = plan.sets[kind];
        if (members.empty()) {
            continue;
        }
        const auto same = std::find(plan.sets.begin(), plan.sets.begin() + static_cast<std::ptrdiff_t>(kind),
                                    members);
        if (same != plan.sets.begin() + static_cast<std::ptrdiff_t>(kind)) {
            plan.runs[kind] = plan.runs[static_cast<std::size_t>(same - plan.sets.begin())];
        } else if (run_holds(current.runs[kind], members)) {
            plan.runs[kind] = current.runs[kind];
        } else {
            const auto count = static_cast<std::uint32_t>(members.size());
            const auto first = taken.set(count);
            if (!first) {
                return lack(Table::kSets, service.key);
            }
            plan.runs[kind] = Run{*first, count};
            plan.write_run[kind] = true;
        }
    }
    if (fresh) {
        const auto name = taken.name(bounded_name(service.key.display()));
        if (!name) {
            return lack(Table::kNames, service.key);
        }
        plan.name = *name;
        if (carried != carried_index_.end()) {
            plan.index = carried->second;
        } else {
            const auto index = taken.service();
            if (!index) {
                return lack(Table::kServices, service.key);
            }
            plan.index = *index;
        }
    }

    // From here on nothing fails.
    taken.keep();
    begin_change();
    if (fresh) {
        const auto place = records_.emplace(service.key, std::move(blank)).first;
        Record& record = place->second;
        record.index = plan.index;
        record.name = plan.name;
        keys_[plan.index] = &place->first;
        write_name(plan.name, bounded_name(service.key.display()));
        if (carried != carried_index_.end()) {
            carried_services_[plan.index] = true;
            carried_backends_.erase(plan.index);
            carried_index_.erase(carried);
        } else {
            tables_.counters[plan.index] = sluice_service_counters{};
        }
        publish(service, record, plan, true);
    } else {
        publish(service, current, plan, false);
    }
    end_change();
    return {};
}

void Publisher::publish(const Service& service, Record& record, Plan& plan, bool fresh) {
    write_backends(plan, record.index);
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        if (plan.write_run[kind]) {
            for (std::uint32_t i = 0; i < plan.runs[kind].count; ++i) {
                const std::uint32_t backend = plan.sets[kind][i];
                tables_.sets[plan.runs[kind].first + i] =
                    sluice_set_slot{backend, tables_.backends[backend].incarnation};
            }
        }
    }
    write_service(service, record, fresh);
    flip(service, record, plan);
    for (Claim& claim : plan.claims) {
        claim.service = record.index;
        frontends_.add(tables_, claim, retired_);
    }
    for (const auto& key : plan.withdrawals) {
        frontends_.withdraw(tables_, key, record.index, retired_);
    }
    for (const std::uint32_t backend : plan.leaving) {
        retire_backend(backend);
    }
    record.frontends = std::move(plan.frontends);
    record.backends.clear();
    record.backends.reserve(plan.members.size());
    for (const auto& member : plan.members) {
        record.backends.push_back(member.index);
    }
}

void Publisher::write_backends(const Plan& plan, std::uint32_t service) {
    for (const Plan::Member& member : plan.members) {
        sluice_backend& record = tables_.backends[member.index];
        const Backend& backend = *member.backend;
        if (member.fresh || member.renamed) {
            write_name(member.name, bounded_name(backend.target));
        }
        if (member.fresh) {
            record.address = image_address(backend.address);
            record.port_be = htons(backend.port);
            record.flags = flags_of(backend);
            record.service = service;
            record.name = member.name;
            clear_served(member.index);
            __atomic_store_n(&record.incarnation, record.incarnation + 1, __ATOMIC_RELEASE);
            continue;
        }
        __atomic_store_n(&record.flags, flags_of(backend), __ATOMIC_RELAXED);
        if (member.renamed) {
            retire_name(record.name);
            __atomic_store_n(&record.name, member.name, __ATOMIC_RELEASE);
        }
    }
}

void Publisher::write_service(const Service& service, const Record& record, bool fresh) {
    sluice_service& out = tables_.services[record.index];
    if (fresh) {
        out = sluice_service{};
        out.name = record.name;
        out.protocol = static_cast<std::uint8_t>(service.key.protocol);
        out.family = static_cast<std::uint8_t>(service.key.family);
        out.flags = SLUICE_SERVICE_IN_USE;
    }
    __atomic_store_n(&out.port_be, htons(service.port), __ATOMIC_RELAXED);
    __atomic_store_n(&out.affinity_timeout_s, service.affinity_timeout_s, __ATOMIC_RELAXED);
}

void Publisher::flip(const Service& service, Record& record, const Plan& plan) {
    sluice_service& out = tables_.services[record.index];
    const std::array<const BackendSet*, SLUICE_TRAFFIC_KINDS> desired{
        &service.internal, &service.external, &service.inside};
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const Run& run = plan.runs[kind];
        const sluice_empty when_empty =
            desired[kind]->when_empty_drop ? SLUICE_EMPTY_DROP : SLUICE_EMPTY_REFUSE;
        const auto low = run.count > 0 ? run.first : static_cast<std::uint32_t>(when_empty);
        const std::uint64_t word = out.word[kind];
        if (sluice_word_first(word) != low || sluice_word_count(word) != run.count) {
            __atomic_store_n(&out.word[kind], make_word(low, run.count, word), __ATOMIC_RELEASE);
        }
    }
    const std::array<Run, SLUICE_TRAFFIC_KINDS> before = record.runs;
    record.runs = plan.runs;
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const Run& run = before[kind];
        const bool kept =
            std::find(record.runs.begin(), record.runs.end(), run) != record.runs.end();
        const auto earlier = before.begin() + static_cast<std::ptrdiff_t>(kind);
        const bool counted = std::find(before.begin(), earlier, run) != earlier;
        if (run.count > 0 && !kept && !counted) {
            retired_.sets.push_back({run.first, run.count});
        }
    }
}

Result<void> Publisher::remove(const ServiceKey& key) {
    const auto found = records_.find(key);
    if (found == records_.end()) {
        return {};
    }
    Record& record = found->second;
    std::size_t handovers = 0;
    for (const Frontend& frontend : record.frontends) {
        handovers += frontends_.contested(frontend_key(frontend, key.protocol, key.family)) ? 1 : 0;
    }
    if (handovers > frontends_.records_available()) {
        return lack(Table::kFrontends, key);
    }
    begin_change();
    for (const Frontend& frontend : record.frontends) {
        frontends_.withdraw(tables_, frontend_key(frontend, key.protocol, key.family), record.index,
                            retired_);
    }
    // Programs that found the frontend before go on reading the word and its set until the grace
    // period ends.
    sluice_service& service = tables_.services[record.index];
    __atomic_store_n(&service.flags, service.flags & ~std::uint32_t{SLUICE_SERVICE_IN_USE},
                     __ATOMIC_RELAXED);
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const Run& run = record.runs[kind];
        const auto earlier = record.runs.begin() + static_cast<std::ptrdiff_t>(kind);
        if (run.count > 0 && std::find(record.runs.begin(), earlier, run) == earlier) {
            retired_.sets.push_back({run.first, run.count});
        }
    }
    for (const std::uint32_t backend : record.backends) {
        retire_backend(backend);
    }
    retire_name(record.name);
    retired_.services.push_back(record.index);
    keys_[record.index] = nullptr;
    carried_services_[record.index] = false;
    records_.erase(found);
    end_change();
    return {};
}

Result<void> Publisher::set_node_addresses(std::span<const IpAddress> addresses) {
    std::vector<IpAddress> usable;
    for (const IpAddress& address : addresses) {
        // NodePorts never answer on loopback, whatever nodePortAddresses says.
        if (!address.is_loopback() && !address.is_unspecified()) {
            usable.push_back(address);
        }
    }
    if (const auto table = frontends_.lacking(tables_, {}, usable)) {
        Error error = lack(*table, ServiceKey{});
        error.message = "node addresses: the frontend table is full";
        return error;
    }
    begin_change();
    frontends_.set_node_addresses(tables_, usable, retired_);
    end_change();
    return {};
}

void Publisher::clear_served(std::uint32_t backend) {
    const std::size_t stride = tables_.header->backend_capacity;
    for (std::size_t row = 0; row < tables_.header->counter_rows; ++row) {
        tables_.served[row * stride + backend] = sluice_backend_counters{};
    }
}

void Publisher::retire_backend(std::uint32_t index) {
    sluice_backend& record = tables_.backends[index];
    // What it has counted stays with its service.
    const sluice_backend_counters served = sum_served(tables_, index);
    sluice_service_counters& service = tables_.counters[record.service];
    service.connections += served.connections;
    service.packets += served.packets;
    service.bytes += served.bytes;
    __atomic_store_n(&record.incarnation, record.incarnation + 1, __ATOMIC_RELEASE);
    retire_name(record.name);
    retired_.backends.push_back(index);
}

void Publisher::retire_name(std::uint32_t offset) {
    if (offset != 0) {
        retired_.names.push_back({offset / kNameUnit, name_units(name_at(offset).size())});
    }
}

void Publisher::write_name(std::uint32_t offset, std::string_view text) {
    if (offset != 0) {
        std::memcpy(tables_.names + offset, text.data(), text.size());
        tables_.names[offset + text.size()] = '\0';
    }
}

void Publisher::begin_change() {
    __atomic_store_n(&tables_.header->generation, tables_.header->generation + 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

void Publisher::end_change() {
    __atomic_store_n(&tables_.header->generation, tables_.header->generation + 1, __ATOMIC_RELEASE);
}

}  // namespace sluice::image
