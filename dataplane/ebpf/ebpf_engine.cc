// The engine: keeps the image in step with what is desired, and replaces it whole when it must
// grow.
//
// Growth, restart and a change of node facts are one mechanism (docs/adr/0002): a complete new
// image in new maps, the programs loaded against it, its pins made and named current, then each
// attachment turned to the new programs. Both images say the same while attachments are turned one
// by one, and a death at any point leaves links that forward, with a complete image for the next
// start to take over from.
#include "dataplane/ebpf/ebpf_engine.h"

#include <bpf/libbpf.h>
#include <fnmatch.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <future>
#include <optional>
#include <unordered_set>

#include "api/base/log.h"
#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/grace.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/privileges.h"
#include "dataplane/ebpf/programs.h"
#include "dataplane/image/publisher.h"
#include "dataplane/netlink/links.h"

namespace sluice::dataplane {
namespace {

using image::Capacities;
using image::Publisher;

// Doublings of one table or another before an image that will not fit is given up.
constexpr int kMaxGrowths = 64;
// More retired pieces than this are worth waiting for before an image grows.
constexpr std::size_t kRetiredWorthWaiting = 64;

struct Images {
    std::unique_ptr<KernelImage> tables;
    std::unique_ptr<Programs> programs;
    std::string directory;
};

std::uint64_t random_seed() {
    std::uint64_t seed = 0;
    SLUICE_ASSERT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
    return seed;
}

// What an image had counted at one moment.
struct Counts {
    std::vector<sluice_service_counters> services;
    std::vector<sluice_backend_counters> backends;
    std::array<std::uint64_t, SLUICE_DROP_STRIDE> drops{};

    static Counts of(const image::Tables& tables) {
        Counts out;
        out.services.assign(tables.counters, tables.counters + tables.header->service_capacity);
        out.backends.reserve(tables.header->backend_capacity);
        for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
            out.backends.push_back(sum_served(tables, i));
        }
        for (std::uint32_t reason = 0; reason < SLUICE_DROP_STRIDE; ++reason) {
            out.drops[reason] = sum_drops(tables, reason);
        }
        return out;
    }
};

template <class Cell>
void add_to(Cell& cell, Cell now, Cell before) {
    if (now > before) {
        __atomic_fetch_add(&cell, now - before, __ATOMIC_RELAXED);
    }
}

// Adds what has been counted since `before` (all of it, if that is empty) to an image in which the services and
// backends named have the index they had.
void carry_counts(const Counts& before, const Counts& now, const image::Tables& to,
                  const std::vector<bool>& services) {
    const auto kept = [&](std::size_t service) { return service < services.size() && services[service]; };
    for (std::size_t i = 0; i < now.services.size() && i < to.header->service_capacity; ++i) {
        if (!kept(i)) {
            continue;
        }
        const auto was = i < before.services.size() ? before.services[i] : sluice_service_counters{};
        add_to(to.counters[i].connections, now.services[i].connections, was.connections);
        add_to(to.counters[i].packets, now.services[i].packets, was.packets);
        add_to(to.counters[i].bytes, now.services[i].bytes, was.bytes);
        add_to(to.counters[i].refused, now.services[i].refused, was.refused);
    }
    for (std::size_t i = 0; i < now.backends.size() && i < to.header->backend_capacity; ++i) {
        if (to.backends[i].incarnation % 2 == 0 || !kept(to.backends[i].service)) {
            continue;
        }
        const auto was = i < before.backends.size() ? before.backends[i] : sluice_backend_counters{};
        add_to(to.served[i].connections, now.backends[i].connections, was.connections);
        add_to(to.served[i].packets, now.backends[i].packets, was.packets);
        add_to(to.served[i].bytes, now.backends[i].bytes, was.bytes);
    }
    const std::size_t row = to.header->counter_rows;
    for (std::uint32_t reason = 0; reason < SLUICE_DROP_STRIDE; ++reason) {
        add_to(to.drops[row * SLUICE_DROP_STRIDE + reason], now.drops[reason], before.drops[reason]);
    }
}

class EbpfEngine final : public Engine {
public:
    EbpfEngine(EbpfOptions options, Features features)
        : options_(std::move(options)),
          features_(features),
          paths_(PinPaths::under(options_.bpffs)),
          attachments_(paths_.links) {}

    Result<void> prepare();

    Result<void> replace_all(const image::Node& node,
                             std::span<const image::Service> services) override;
    Result<void> apply(const image::Change& change) override;
    Result<void> set_node(const image::Node& node) override;
    Result<void> sync_devices() override;
    void reclaim() override;
    [[nodiscard]] EngineStatus status() const override;

private:
    [[nodiscard]] image::HeaderFacts facts(const image::Node& node) const;
    Result<void> build(const image::Node& node, std::span<const image::Service> services);
    Result<std::unique_ptr<Publisher>> fill(const KernelImage& tables, const image::Node& node,
                                            std::span<const image::Service> services,
                                            const image::Carried& carried, Capacities& wanted);
    Result<void> replace_image(Capacities capacities, const image::Node& node);
    [[nodiscard]] Result<std::unique_ptr<Programs>> load(const KernelImage& tables) const;
    Result<Images> stage(std::unique_ptr<KernelImage> tables, std::unique_ptr<Programs> programs);
    Result<void> turn_to(const Programs& programs);
    Result<void> attach_devices(const Programs& programs);
    // Makes the staged image the one in force. On error the former one still is.
    Result<void> install(Images next);
    void remove_former_images();
    template <class Step>
    Result<void> with_room(Step step);
    bool collect();

    EbpfOptions options_;
    Features features_;
    PinPaths paths_;
    Attachments attachments_;
    GraceWaiter grace_;
    image::Node node_;
    Images live_;
    std::unique_ptr<Publisher> publisher_;
    image::Retired waiting_;
};

image::HeaderFacts EbpfEngine::facts(const image::Node& node) const {
    return image::HeaderFacts{node, options_.snat_port_min, options_.snat_port_max, random_seed()};
}

Result<void> EbpfEngine::prepare() {
    if (options_.snat_port_min == 0 || options_.snat_port_min > options_.snat_port_max) {
        return make_error(Code::kInvalidArgument,
                          "the source port range {}-{} is empty or starts at 0",
                          options_.snat_port_min, options_.snat_port_max);
    }
    SLUICE_TRY(check_privileges());
    if (options_.socket_hooks) {
        SLUICE_TRY(check_cgroup2(options_.cgroup_root));
    }
    SLUICE_TRY(check_bpffs(options_.bpffs));
    // Fails here, before anything is touched, on a kernel or with rights that cannot do it.
    auto probe = KernelImage::create(Capacities{});
    if (!probe) {
        return probe.error().with_context(
            "this kernel or user cannot make memory-mapped BPF arrays (Linux 5.15 and root, or "
            "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, are needed)");
    }
    SLUICE_TRY(make_directory(paths_.root));
    SLUICE_TRY(make_directory(paths_.links));
    SLUICE_TRY(make_directory(paths_.state));
    return {};
}

Result<std::unique_ptr<Programs>> EbpfEngine::load(const KernelImage& tables) const {
    return Programs::load(options_, features_, tables, paths_.state);
}

Result<Images> EbpfEngine::stage(std::unique_ptr<KernelImage> tables,
                                 std::unique_ptr<Programs> programs) {
    Images next;
    next.tables = std::move(tables);
    next.programs = std::move(programs);
    next.directory = paths_.image(next_image_number(paths_));
    auto pinned = make_directory(next.directory);
    if (pinned) {
        pinned = next.tables->pin(next.directory);
    }
    if (pinned) {
        pinned = next.programs->pin(next.directory);
    }
    if (!pinned) {
        if (auto removed = remove_directory(next.directory); !removed) {
            log::warn("ebpf", "{}", removed.error().to_string());
        }
        return pinned.error();
    }
    return next;
}

Result<void> EbpfEngine::turn_to(const Programs& programs) {
    if (options_.tc) {
        SLUICE_TRY(attach_devices(programs));
    } else {
        attachments_.retain_devices({});
    }
    if (!options_.socket_hooks) {
        attachments_.drop_socket_hooks();
        return {};
    }
    for (const SocketHook& hook : socket_hooks()) {
        SLUICE_TRY(
            attachments_.socket_hook(hook, options_.cgroup_root, programs.socket_program(hook)));
    }
    return {};
}

Result<void> EbpfEngine::attach_devices(const Programs& programs) {
    SLUICE_TRY_ASSIGN(const std::vector<netlink::Link> links, netlink::list_links());
    std::vector<DeviceHook> keep;
    Result<void> outcome;
    const auto attach = [&](const netlink::Link& link, bool egress, TcProgram program) {
        const DeviceHook hook{link.ifindex, egress};
        auto attached = attachments_.device(hook, link.name, programs.tc_program(program));
        if (attached) {
            keep.push_back(hook);
        } else if (attached.error().sys_errno != ENODEV) {
            // A device that went away meanwhile needs nothing; another must not keep the rest from
            // theirs.
            outcome = attached.error();
        }
    };
    for (const netlink::Link& link : links) {
        netlink::Role role = netlink::classify(link);
        if (!options_.devices.empty()) {
            const bool named = std::any_of(
                options_.devices.begin(), options_.devices.end(), [&](const std::string& pattern) {
                    return fnmatch(pattern.c_str(), link.name.c_str(), 0) == 0;
                });
            role = !named                        ? netlink::Role::kIgnore
                   : role == netlink::Role::kPod ? netlink::Role::kPod
                                                 : netlink::Role::kNode;
        }
        if (role == netlink::Role::kPod) {
            attach(link, false, TcProgram::kPodIngress);
            attach(link, true, TcProgram::kPodEgress);
        } else if (role == netlink::Role::kNode) {
            attach(link, false, TcProgram::kNodeIngress);
            attach(link, true, TcProgram::kNodeEgress);
        }
    }
    attachments_.retain_devices(keep);
    return outcome;
}

Result<void> EbpfEngine::install(Images next) {
    const auto former = current_image(paths_);
    auto done = set_current_image(paths_, next.directory);
    if (done) {
        done = turn_to(*next.programs);
    }
    if (!done) {
        // Back to what was in force; without a former image nothing was, and nothing stays half
        // attached.
        if (former && live_.programs) {
            auto back = set_current_image(paths_, *former);
            if (back) {
                back = turn_to(*live_.programs);
            }
            if (!back) {
                log::error("ebpf", "{}", back.error().to_string());
            }
        }
        if (!former || live_.programs) {
            if (auto removed = remove_directory(next.directory); !removed) {
                log::warn("ebpf", "{}", removed.error().to_string());
            }
        }
        return done;
    }
    live_ = std::move(next);
    return {};
}

// Only after a grace period: a program of the former image may still be running, and finds the
// program that it hands packets to as long as that is pinned.
void EbpfEngine::remove_former_images() {
    for (const std::string& stale : stale_images(paths_, live_.directory)) {
        if (auto removed = remove_directory(stale); !removed) {
            log::warn("ebpf", "{}", removed.error().to_string());
        }
    }
}

Result<std::unique_ptr<Publisher>> EbpfEngine::fill(const KernelImage& tables,
                                                    const image::Node& node,
                                                    std::span<const image::Service> services,
                                                    const image::Carried& carried,
                                                    Capacities& wanted) {
    // Even, as between changes, and above what it succeeds.
    const std::uint64_t generation = (carried.generation | 1U) + 1;
    SLUICE_TRY(write_header(tables.tables(), tables.capacities(), facts(node), generation));
    auto publisher = std::make_unique<Publisher>(tables.tables(), carried);
    Result<void> filled = publisher->set_node_addresses(node.nodeport_addresses);
    for (std::size_t i = 0; filled && i < services.size(); ++i) {
        filled = publisher->upsert(services[i]);
    }
    if (!filled) {
        wanted = publisher->wanted();
        return filled.error();
    }
    publisher->finish_carrying();
    return publisher;
}

Result<void> EbpfEngine::build(const image::Node& node, std::span<const image::Service> services) {
    image::Carried carried;
    std::unique_ptr<KernelImage> former;
    if (const auto directory = current_image(paths_)) {
        auto opened = KernelImage::open(*directory, false);
        if (opened) {
            former = std::move(*opened);
            carried = image::Carried::from(former->tables());
        } else {
            log::warn("ebpf", "starting without the former image: {}", opened.error().to_string());
        }
    }
    Capacities least;
    const int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
        return errno_error(-cpus, "cannot tell the number of CPUs");
    }
    least.counter_rows = image::counter_rows_for(static_cast<std::uint32_t>(cpus));
    const auto hold = [](std::size_t count, std::uint32_t& capacity) {
        capacity = std::max(capacity, static_cast<std::uint32_t>(std::bit_ceil(count)));
    };
    hold(carried.usage.services, least.services);
    hold(carried.usage.backends, least.backends);
    Capacities capacities = capacities_for(usage_of(node, services), least);
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        SLUICE_TRY_ASSIGN(std::unique_ptr<KernelImage> tables, KernelImage::create(capacities));
        Capacities wanted = capacities;
        // The verifier and the publisher work at the same time: neither looks at what the other does.
        auto loading = std::async(std::launch::async, [&] { return load(*tables); });
        auto publisher = fill(*tables, node, services, carried, wanted);
        auto programs = loading.get();
        if (!publisher) {
            if (publisher.error().code != Code::kResourceExhausted) {
                return publisher.error();
            }
            capacities = wanted;
            continue;
        }
        const std::vector<bool> kept = (*publisher)->carried_services();
        const image::Tables& now = tables->tables();
        Counts counts;
        if (former) {
            counts = Counts::of(former->tables());
            carry_counts({}, counts, now, kept);
        }
        if (!programs) {
            return programs.error();
        }
        SLUICE_TRY_ASSIGN(Images next, stage(std::move(tables), std::move(*programs)));
        const image::Tables installed = next.tables->tables();
        SLUICE_TRY(install(std::move(next)));
        publisher_ = std::move(*publisher);
        node_ = node;
        if (stale_images(paths_, live_.directory).empty()) {
            return {};
        }
        if (auto passed = wait_for_grace_period(); !passed) {
            log::warn("ebpf", "{}", passed.error().to_string());
        } else if (former) {
            carry_counts(counts, Counts::of(former->tables()), installed, kept);
        }
        remove_former_images();
        return {};
    }
    return make_error(Code::kResourceExhausted,
                      "no table image of a bounded size holds {} services", services.size());
}

Result<void> EbpfEngine::replace_image(Capacities capacities, const image::Node& node) {
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        SLUICE_TRY_ASSIGN(std::unique_ptr<KernelImage> tables, KernelImage::create(capacities));
        const std::uint64_t generation = live_.tables->tables().header->generation;
        SLUICE_TRY(write_header(tables->tables(), capacities, facts(node), generation + 2));
        auto copied = publisher_->copy_into(tables->tables());
        if (!copied) {
            capacities.buckets *= 2;
            continue;
        }
        // Everything has the index it had; free cells are counted from zero again when taken.
        const std::vector<bool> all(live_.tables->capacities().services, true);
        const Counts counts = Counts::of(live_.tables->tables());
        carry_counts({}, counts, tables->tables(), all);
        SLUICE_TRY_ASSIGN(std::unique_ptr<Programs> programs, load(*tables));
        SLUICE_TRY_ASSIGN(Images next, stage(std::move(tables), std::move(programs)));
        // The former image must stay mapped until its last counts are carried over.
        Images former;
        const image::Tables successor = next.tables->tables();
        std::swap(former.tables, live_.tables);
        auto installed = install(std::move(next));
        if (!installed) {
            std::swap(former.tables, live_.tables);
            return installed;
        }
        publisher_->switch_to(successor);
        node_ = node;
        if (auto passed = wait_for_grace_period(); passed) {
            carry_counts(counts, Counts::of(former.tables->tables()), successor, all);
        } else {
            log::warn("ebpf", "{}", passed.error().to_string());
        }
        remove_former_images();
        log::info("ebpf", "new image {}: {} services, {} backends, {} buckets", live_.directory,
                  capacities.services, capacities.backends, capacities.buckets);
        return {};
    }
    return make_error(Code::kResourceExhausted, "the frontends find no room in {} buckets",
                      capacities.buckets);
}

// Runs a step of publishing; when a table is full, takes back what was retired, else grows the
// image, and tries again.
template <class Step>
Result<void> EbpfEngine::with_room(Step step) {
    Result<void> outcome;
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        outcome = step();
        if (outcome || outcome.error().code != Code::kResourceExhausted) {
            return outcome;
        }
        const Capacities wanted = publisher_->wanted();
        if (!collect()) {
            // Where one table is full the others soon will be: make room in all at once.
            SLUICE_TRY(replace_image(capacities_for(publisher_->usage(), wanted), node_));
        }
    }
    return outcome;
}

// Waits for what is retired to become free. False if that is too little to be worth it.
bool EbpfEngine::collect() {
    const auto pieces = [](const image::Retired& retired) {
        return retired.backends.size() + retired.sets.size() + retired.frontends.size() +
               retired.services.size();
    };
    if (pieces(waiting_) + publisher_->retired_count() < kRetiredWorthWaiting) {
        return false;
    }
    bool freed = false;
    if (!waiting_.empty() && grace_.wait()) {
        publisher_->release(std::exchange(waiting_, {}));
        freed = true;
    }
    image::Retired retired = publisher_->take_retired();
    if (retired.empty()) {
        return freed;
    }
    if (!waiting_.empty() || !wait_for_grace_period()) {
        // The kernel would not wait: these pieces are lost until the next start, never reused too
        // early.
        return freed;
    }
    publisher_->release(retired);
    return true;
}

Result<void> EbpfEngine::replace_all(const image::Node& node,
                                     std::span<const image::Service> services) {
    if (!publisher_) {
        return build(node, services);
    }
    SLUICE_TRY(set_node(node));
    std::unordered_set<std::string> wanted;
    const auto identity = [](const image::ServiceKey& key) {
        return image::Carried::identity(key.display(), static_cast<std::uint8_t>(key.protocol),
                                        static_cast<std::uint8_t>(key.family));
    };
    Result<void> outcome;
    for (const image::Service& service : services) {
        wanted.insert(identity(service.key));
        auto done = with_room([&] { return publisher_->upsert(service); });
        if (!done && outcome) {
            outcome = done.error();
        }
    }
    for (const image::ServiceKey& key : publisher_->keys()) {
        if (!wanted.contains(identity(key))) {
            auto done = with_room([&] { return publisher_->remove(key); });
            if (!done && outcome) {
                outcome = done.error();
            }
        }
    }
    return outcome;
}

Result<void> EbpfEngine::apply(const image::Change& change) {
    SLUICE_ASSERT(publisher_);
    Result<void> outcome;
    for (const image::Service& service : change.upserts) {
        auto done = with_room([&] { return publisher_->upsert(service); });
        if (!done && outcome) {
            outcome = done.error();
        }
    }
    for (const image::ServiceKey& key : change.removals) {
        auto done = with_room([&] { return publisher_->remove(key); });
        if (!done && outcome) {
            outcome = done.error();
        }
    }
    return outcome;
}

Result<void> EbpfEngine::set_node(const image::Node& node) {
    SLUICE_ASSERT(publisher_);
    if (!same_header(node_, node)) {
        SLUICE_TRY(replace_image(live_.tables->capacities(), node));
    }
    SLUICE_TRY(with_room([&] { return publisher_->set_node_addresses(node.nodeport_addresses); }));
    node_ = node;
    return {};
}

Result<void> EbpfEngine::sync_devices() {
    if (!options_.tc || !live_.programs) {
        return {};
    }
    return attach_devices(*live_.programs);
}

void EbpfEngine::reclaim() {
    if (!publisher_ || !grace_.idle()) {
        return;
    }
    if (!waiting_.empty()) {
        publisher_->release(std::exchange(waiting_, {}));
    }
    waiting_ = publisher_->take_retired();
    if (!waiting_.empty()) {
        grace_.start();
    }
}

EngineStatus EbpfEngine::status() const {
    EngineStatus out;
    out.name = "ebpf";
    out.attached = attachments_.labels();
    out.missing = features_.missing();
    if (attachments_.uses_filters()) {
        out.missing.emplace_back("tcx (Linux 6.6): tc programs hang on the clsact discipline");
    }
    if (publisher_) {
        const image::Usage usage = publisher_->usage();
        out.generation = live_.tables->tables().header->generation;
        out.services = usage.services;
        out.frontends = usage.frontends;
        out.backends = usage.backends;
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<Engine>> open_ebpf_engine(const EbpfOptions& options) {
    auto engine = std::make_unique<EbpfEngine>(options, Features::probe());
    SLUICE_TRY(engine->prepare());
    return std::unique_ptr<Engine>(std::move(engine));
}

Result<std::vector<std::string>> cleanup_ebpf(const EbpfOptions& options) {
    quiet_libbpf();
    const PinPaths paths = PinPaths::under(options.bpffs);
    SLUICE_TRY_ASSIGN(std::vector<std::string> removed, detach_all(paths.links));
    SLUICE_TRY_ASSIGN(const std::vector<std::string> filters, remove_filters());
    removed.insert(removed.end(), filters.begin(), filters.end());
    for (const std::string& name : list_directory(paths.root)) {
        const std::string full = paths.root + "/" + name;
        // Links go first and by themselves; the symbolic link `current` is removed as a file.
        if (unlink(full.c_str()) != 0) {
            SLUICE_TRY(remove_directory(full));
        }
        removed.push_back("pins " + full);
    }
    SLUICE_TRY(remove_directory(paths.root));
    return removed;
}

}  // namespace sluice::dataplane
