// When programs are loaded: the verifier takes about a second for all of them, which nobody should have to wait for.
//
//   open           tc and socket programs, against an image of the size that is expected
//   replace_all    waits for those, fills the image, puts it into force
//   after that     XDP programs, if a device takes them; tc does its work meanwhile
//   growth         programs that know both flow tables, while those in force go on
#include <bpf/libbpf.h>

#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "dataplane/ebpf/engine_private.h"

namespace sluice::dataplane {
namespace {

using image::Capacities;

// More memory than this, and than twice what is wanted, is not kept because it was there first.
constexpr std::uint64_t kSpareBytes = 32ULL << 20U;

std::uint64_t bytes_of(const Capacities& capacities) {
    std::uint64_t out = 0;
    for (const image::TableSpec& spec : image::table_specs(capacities)) {
        out += std::uint64_t{spec.value_size} * spec.entries;
    }
    return out;
}

bool holds(const Capacities& room, const Capacities& wanted) {
    return room.buckets >= wanted.buckets && room.frontends >= wanted.frontends &&
           room.services >= wanted.services && room.set_slots >= wanted.set_slots &&
           room.backends >= wanted.backends && room.name_bytes >= wanted.name_bytes &&
           room.ring_lines >= wanted.ring_lines && room.ranges >= wanted.ranges &&
           room.counter_rows == wanted.counter_rows;
}

bool worth_keeping(const Capacities& room, const Capacities& wanted) {
    return holds(room, wanted) && bytes_of(room) <= std::max(kSpareBytes, 2 * bytes_of(wanted));
}

}  // namespace

Capacities expected_capacities(std::uint32_t services) {
    // With a port each, in one family, and a few endpoints.
    const std::size_t count = std::min(services, image::kMaxServices / 2);
    image::Usage usage;
    usage.services = count;
    usage.frontends = 2 * count;
    usage.backends = 5 * count / 2;
    usage.set_slots = 5 * count / 2;
    usage.name_bytes = 100 * count;
    Capacities least;
    least.counter_rows = image::counter_rows_for(static_cast<std::uint32_t>(std::max(1, libbpf_num_possible_cpus())));
    return capacities_for(usage, least);
}

Parts EbpfEngine::parts_now() const {
    Parts out;
    const std::vector<std::string> links = list_directory(paths_.links);
    out.xdp = std::any_of(links.begin(), links.end(),
                          [](const std::string& name) { return name.starts_with("xdp_"); });
    return out;
}

Result<Loading> EbpfEngine::begin_loading(const Capacities& capacities) {
    Loading out;
    SLUICE_TRY_ASSIGN(out.tables, KernelImage::create(capacities));
    out.programs = std::async(std::launch::async, [options = options_, features = features_, state = paths_.state,
                                                   parts = parts_now(), tables = out.tables.get()] {
        return Programs::load(options, features, *tables, state, parts);
    });
    return out;
}

void EbpfEngine::load_ahead() {
    Capacities capacities = expected_capacities(options_.expected_services);
    if (const auto directory = current_image(paths_)) {
        const auto former = KernelImage::open(*directory, false);
        if (former && holds((*former)->capacities(), Capacities{}) &&
            (*former)->capacities().counter_rows == capacities.counter_rows) {
            capacities = (*former)->capacities();
        }
    }
    auto begun = begin_loading(capacities);
    if (!begun) {
        // Whatever it is, replace_all meets it too and says so.
        log::info("ebpf", "programs are not loaded ahead: {}", begun.error().to_string());
        return;
    }
    ahead_ = std::move(*begun);
}

Result<Loading> EbpfEngine::loading_for(const Capacities& wanted) {
    if (ahead_.active() && worth_keeping(ahead_.tables->capacities(), wanted)) {
        return std::exchange(ahead_, {});
    }
    return begin_loading(wanted);
}

const Programs* EbpfEngine::xdp_of(const Images& images) {
    for (const Programs* programs : {images.xdp.get(), images.programs.get()}) {
        if (programs != nullptr && (programs->xdp_program() >= 0 || !programs->xdp_refusal().empty())) {
            return programs;
        }
    }
    return nullptr;
}

void EbpfEngine::begin_xdp() {
    const bool wanted = std::any_of(uplinks_.begin(), uplinks_.end(), [&](const XdpDevice& device) {
        return xdp_wants(device, options_.xdp);
    });
    if (!wanted || !live_.tables || xdp_of(live_) != nullptr || xdp_loading_.valid()) {
        return;
    }
    xdp_loading_ = std::async(std::launch::async, [options = options_, features = features_, state = paths_.state,
                                                   tables = live_.tables.get()] {
        return Programs::load(options, features, *tables, state, Parts{.hooks = false, .tc = false, .xdp = true});
    });
}

void EbpfEngine::finish_xdp() {
    if (!xdp_loading_.valid()) {
        return;
    }
    auto loaded = xdp_loading_.get();
    if (loaded) {
        // Before it is attached: what it calls is emptied with the last pin.
        if (auto pinned = (*loaded)->pin(live_.directory); !pinned) {
            loaded = pinned.error();
        }
    }
    if (!loaded) {
        log::warn("ebpf", "no XDP: {}", loaded.error().to_string());
        return;
    }
    live_.xdp = std::move(*loaded);
    turn_xdp(live_);
}

}  // namespace sluice::dataplane
