// Making a complete image and putting it into force in place of the one before.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <future>

#include "api/base/log.h"
#include "dataplane/ebpf/engine_private.h"
#include "dataplane/ebpf/former_image.h"
#include "dataplane/image/counts.h"

namespace sluice::dataplane {

using image::Capacities;
using image::Counts;
using image::kMaxGrowths;
using image::random_seed;

void darken(const KernelImage& tables) {
    __atomic_store_n(&tables.tables().header->magic, 0, __ATOMIC_RELEASE);
}

void light(const KernelImage& tables) {
    // Everything that the image says stands before it.
    __atomic_store_n(&tables.tables().header->magic, SLUICE_IMAGE_MAGIC, __ATOMIC_RELEASE);
}

bool is_in_force(const std::string& directory) {
    const Fd header(bpf_obj_get((directory + "/sluice_header").c_str()));
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (!header || bpf_obj_get_info_by_fd(header.get(), &info, &length) != 0) {
        return false;
    }
    // The magic is the first word in every layout.
    std::vector<char> value(std::max<std::size_t>(info.value_size, sizeof(std::uint64_t)));
    const std::uint32_t zero = 0;
    decltype(sluice_header::magic) magic = 0;
    if (bpf_map_lookup_elem(header.get(), &zero, value.data()) != 0) {
        return false;
    }
    std::memcpy(&magic, value.data(), sizeof(magic));
    return magic == SLUICE_IMAGE_MAGIC;
}

image::HeaderFacts EbpfEngine::facts(const image::Node& node) const {
    const int cpus = libbpf_num_possible_cpus();
    return image::HeaderFacts{node, options_.snat_port_min, options_.snat_port_max, random_seed(),
                              static_cast<std::uint32_t>(std::max(cpus, 0))};
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

Result<void> EbpfEngine::install(Images next, const image::Node& before) {
    const auto former = current_image(paths_);
    auto done = set_current_image(paths_, next.directory);
    if (done) {
        catch_up_affinity();
        done = turn_to(next);
        catch_up_affinity();
    }
    if (!done) {
        // Back to what was in force; without a former image nothing was, and nothing stays half
        // attached.
        if (former && live_.programs) {
            auto back = set_current_image(paths_, *former);
            if (back) {
                node_ = before;
                back = turn_to(live_);
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
    if (stale_peers_) {
        stale_peers_->watch(live_.programs->map("sluice_peer_tab"));
    }
    return {};
}

// Only after a grace period: a program of the former image may still be running, and finds the
// program that it hands packets to as long as that is pinned.
void EbpfEngine::remove_former() {
    std::vector<std::string> stale = stale_images(paths_, live_.directory);
    for (std::string& state : stale_states(paths_)) {
        stale.push_back(std::move(state));
    }
    for (const std::string& directory : stale) {
        if (auto removed = remove_directory(directory); !removed) {
            log::warn("ebpf", "{}", removed.error().to_string());
        }
    }
    for (const Programs* programs : {live_.programs.get(), live_.xdp.get()}) {
        if (programs == nullptr) {
            continue;
        }
        for (const std::string& pin : programs->superseded_state(paths_.state)) {
            if (auto removed = remove_pin(pin); !removed) {
                log::warn("ebpf", "{}", removed.error().to_string());
            }
        }
    }
    for (const std::string& name : attachments_.detach_unknown()) {
        log::info("ebpf", "detached {}, which another version had attached", name);
    }
}

Result<void> EbpfEngine::build(const image::Node& node, std::span<const image::Service> services) {
    std::unique_ptr<FormerImage> former;
    SLUICE_TRY_ASSIGN(const bool carrying, flow_pins_.settle());
    image::Carried carried;
    const auto directory = current_image(paths_);
    const bool first = !directory || !is_in_force(*directory);
    if (!first) {
        former = FormerImage::open(*directory);
        carried = former->carried();
    } else if (state_was_there_) {
        // Flows without an image that says what they remember.
        carried = image::carried_from_nothing(image::Capacities{}.backends);
    }
    fresh_incarnation_ = image::fresh_incarnation(carried);
    const int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
        return errno_error(-cpus, "cannot tell the number of CPUs");
    }
    Capacities capacities = image::first_capacities(
        node, services, carried, image::counter_rows_for(static_cast<std::uint32_t>(cpus)));
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        SLUICE_TRY_ASSIGN(Loading loading, loading_for(capacities));
        Capacities wanted = capacities;
        // The verifier and the publisher work at the same time: neither looks at what the other does.
        auto publisher = image::fill(loading.tables->tables(), loading.tables->capacities(), facts(node), services,
                                     carried, wanted);
        if (!publisher) {
            if (publisher.error().code != Code::kResourceExhausted) {
                return publisher.error();
            }
            capacities = wanted;
            continue;
        }
        auto programs = loading.programs.get();
        std::unique_ptr<KernelImage> tables = std::move(loading.tables);
        const std::vector<bool> kept = (*publisher)->carried_services();
        const image::Tables& now = tables->tables();
        Counts counts;
        if (former) {
            counts = former->counts();
            carry_counts({}, counts, now, kept);
        }
        if (!programs) {
            return programs.error();
        }
        if (first) {
            darken(*tables);
        }
        SLUICE_TRY_ASSIGN(Images next, stage(std::move(tables), std::move(*programs)));
        const image::Tables installed = next.tables->tables();
        // Which devices are pods' is among the node's facts.
        node_ = node;
        SLUICE_TRY(install(std::move(next), node));
        publisher_ = std::move(*publisher);
        if (stale_peers_) {
            std::vector<const image::Service*> datagrams;
            for (const image::Service& service : services) {
                if (service.key.protocol == Protocol::kUdp) {
                    datagrams.push_back(&service);
                }
            }
            stale_peers_->only(datagrams);
        }
        watch_flows();
        affinity_.watch();
        begin_xdp();
        if (stale_images(paths_, live_.directory).empty()) {
            remove_former();
            return affinity_.pending() ? carry_affinity() : Result<void>();
        }
        if (auto passed = wait_for_grace_period(); !passed) {
            log::warn("ebpf", "{}", passed.error().to_string());
        } else if (former) {
            carry_counts(counts, former->counts(), installed, kept);
        }
        remove_former();
        if (affinity_.pending()) {
            SLUICE_TRY(carry_affinity());
        }
        carrying_ = carrying && options_.tc;
        if (carrying_) {
            growth_ = Growth::kCarry;
            return carry_flows();
        }
        return {};
    }
    return make_error(Code::kResourceExhausted,
                      "no table image of a bounded size holds {} services", services.size());
}

Result<void> EbpfEngine::replace_image(Capacities capacities, const image::Node& node) {
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        SLUICE_TRY_ASSIGN(Loading loading, begin_loading(capacities));
        auto programs = loading.programs.get();
        if (!programs) {
            return programs.error();
        }
        auto done = succeed(std::move(loading.tables), std::move(*programs), node);
        if (done || done.error().code != Code::kResourceExhausted) {
            return done;
        }
        capacities.buckets *= 2;
    }
    return make_error(Code::kResourceExhausted, "the frontends find no room in {} buckets",
                      capacities.buckets);
}

Result<void> EbpfEngine::succeed(std::unique_ptr<KernelImage> tables, std::unique_ptr<Programs> programs,
                                 const image::Node& node) {
    // Its thread looks at the tables that are about to go.
    finish_xdp();
    const Capacities capacities = tables->capacities();
    SLUICE_TRY(copy_all(*publisher_, tables->tables(), capacities, facts(node), fresh_incarnation_));
    // Everything has the index it had; free cells are counted from zero again when taken.
    const std::vector<bool> all(live_.tables->capacities().services, true);
    const Counts counts = Counts::of(live_.tables->tables());
    carry_counts({}, counts, tables->tables(), all);
    SLUICE_TRY_ASSIGN(Images next, stage(std::move(tables), std::move(programs)));
    // The former image must stay mapped until its last counts are carried over.
    Images former;
    const image::Tables successor = next.tables->tables();
    std::swap(former.tables, live_.tables);
    const image::Node before = std::exchange(node_, node);
    auto installed = install(std::move(next), before);
    if (!installed) {
        node_ = before;
        std::swap(former.tables, live_.tables);
        return installed;
    }
    publisher_->switch_to(successor);
    if (auto passed = wait_for_grace_period(); passed) {
        carry_counts(counts, Counts::of(former.tables->tables()), successor, all);
        // Whatever these programs were loaded for: they were loaded with what is pinned.
        if (affinity_.pending()) {
            if (auto carried = carry_affinity(); !carried) {
                log::warn("ebpf", "the affinity table: {}", carried.error().to_string());
            }
        }
    } else {
        log::warn("ebpf", "{}", passed.error().to_string());
    }
    remove_former();
    begin_xdp();
    log::info("ebpf", "new image {}: {} services, {} backends, {} buckets", live_.directory,
              capacities.services, capacities.backends, capacities.buckets);
    return {};
}

}  // namespace sluice::dataplane
