// Making an image in shared memory and putting it into force in place of the one before.
//
// A change of image: the new file is complete before `current` names it, so an engine that starts at any moment finds a
// whole one; the engine that runs is told, and answers when no lcore looks at the former any more; only then are that
// one's last counts carried over and its files removed. Both say the same meanwhile. Without an engine there is nobody
// to wait for. One that does not answer keeps the former image mapped, and so do we, until it does or is gone.
#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "dataplane/dpdk/client/dpdk_engine_private.h"

namespace sluice::dpdk {

using image::Capacities;
using image::Counts;

namespace {

// Backends that get an incarnation of their own where what flows remember is not known; later ones when the image
// grows.
constexpr std::uint32_t kUnknownBackends = 2048;

bool nobody_answered(const Error& error) {
    return error.code == Code::kUnavailable || error.code == Code::kDeadlineExceeded || error.code == Code::kCancelled;
}

}  // namespace

image::HeaderFacts DpdkEngine::facts(const image::Node& node, std::uint32_t lcores) const {
    return {node, options_.snat_port_min, options_.snat_port_max, image::random_seed(), lcores};
}

std::uint32_t DpdkEngine::lcores() const {
    const LinkState state = link_.state();
    return state.engine ? state.engine->counter_rows : 0;
}

Result<std::unique_ptr<ImageSegment>> DpdkEngine::make_image(const Capacities& capacities) {
    return ImageSegment::create(options_.state_directory, next_image_number(options_.state_directory), capacities);
}

void DpdkEngine::discard(std::unique_ptr<ImageSegment> image) {
    if (auto removed = remove_image(options_.state_directory, image->number()); !removed) {
        log::warn("dpdk", "{}", removed.error().to_string());
    }
}

Result<void> DpdkEngine::install(const ImageSegment& next, const ImageSegment* former) {
    SLUICE_TRY(set_current_image(options_.state_directory, next.number()));
    link_.set_image(next.number());
    auto attached = link_.attach();
    attached_ = attached.has_value();
    if (attached || nobody_answered(attached.error())) {
        if (!attached) {
            log::warn("dpdk", "image-{} is for the next engine: {}", next.number(), attached.error().to_string());
        }
        return {};
    }
    if (former != nullptr) {
        SLUICE_TRY(set_current_image(options_.state_directory, former->number()));
        link_.set_image(former->number());
    }
    return attached.error().with_context(fmt::format("the engine refuses image-{}", next.number()));
}

Result<void> DpdkEngine::build(const image::Node& node, std::span<const image::Service> services) {
    const std::string& directory = options_.state_directory;
    image::Carried carried;
    std::unique_ptr<ImageSegment> former;
    if (const auto current = current_image(directory)) {
        auto opened = ImageSegment::open_to_read(directory, *current);
        if (opened) {
            former = std::move(*opened);
            carried = image::Carried::from(former->tables());
        } else {
            log::warn("dpdk", "starting without the former image: {}", opened.error().to_string());
        }
    }
    if (!former && !list_flows(directory).empty()) {
        // Flows without an image that says what they remember.
        carried = image::carried_from_nothing(kUnknownBackends);
    }
    fresh_incarnation_ = image::fresh_incarnation(carried);
    const std::uint32_t rows = lcores();
    const std::uint32_t counter_rows = rows != 0 ? image::counter_rows_for(rows)
                                       : former  ? former->capacities().counter_rows
                                                 : image::kMaxCounterRows;
    Capacities capacities = image::first_capacities(node, services, carried, counter_rows);
    for (int attempt = 0; attempt < image::kMaxGrowths; ++attempt) {
        SLUICE_TRY_ASSIGN(std::unique_ptr<ImageSegment> next, make_image(capacities));
        Capacities wanted = capacities;
        auto publisher = image::fill(next->tables(), capacities, facts(node, rows), services, carried, wanted);
        if (!publisher) {
            discard(std::move(next));
            if (publisher.error().code != Code::kResourceExhausted) {
                return publisher.error();
            }
            capacities = wanted;
            continue;
        }
        std::vector<bool> kept = (*publisher)->carried_services();
        Counts counts;
        if (former) {
            counts = Counts::of(former->tables());
            carry_counts({}, counts, next->tables(), kept);
        }
        if (auto installed = install(*next, former.get()); !installed) {
            discard(std::move(next));
            return installed;
        }
        if (former) {
            former_.push_back({std::move(former), std::move(counts), std::move(kept)});
        }
        live_ = std::move(next);
        live_lcores_ = rows;
        publisher_ = std::move(*publisher);
        node_ = node;
        settle_former();
        remove_stale_images();
        return {};
    }
    return make_error(Code::kResourceExhausted, "no table image of a bounded size holds {} services", services.size());
}

Result<void> DpdkEngine::replace_image(Capacities capacities, const image::Node& node) {
    const std::uint32_t engines = lcores();
    const std::uint32_t rows = engines != 0 ? engines : live_lcores_;
    if (rows != 0) {
        capacities.counter_rows = image::counter_rows_for(rows);
    }
    std::unique_ptr<ImageSegment> next;
    for (int attempt = 0; attempt < image::kMaxGrowths && !next; ++attempt) {
        SLUICE_TRY_ASSIGN(std::unique_ptr<ImageSegment> larger, make_image(capacities));
        auto copied = copy_all(*publisher_, larger->tables(), capacities, facts(node, rows), fresh_incarnation_);
        if (copied) {
            next = std::move(larger);
            break;
        }
        discard(std::move(larger));
        if (copied.error().code != Code::kResourceExhausted) {
            return copied;
        }
        capacities.buckets *= 2;
    }
    if (!next) {
        return make_error(Code::kResourceExhausted, "the frontends find no room in {} buckets", capacities.buckets);
    }
    // Everything has the index it had; free cells are counted from zero again when taken.
    std::vector<bool> all(live_->capacities().services, true);
    Counts counts = Counts::of(live_->tables());
    carry_counts({}, counts, next->tables(), all);
    if (auto installed = install(*next, live_.get()); !installed) {
        discard(std::move(next));
        return installed;
    }
    former_.push_back({std::move(live_), std::move(counts), std::move(all)});
    live_ = std::move(next);
    live_lcores_ = rows;
    publisher_->switch_to(live_->tables());
    settle_former();
    log::info("dpdk", "image-{}: {} services, {} backends, {} buckets, {} rows of counters", live_->number(),
              capacities.services, capacities.backends, capacities.buckets, capacities.counter_rows);
    return {};
}

void DpdkEngine::settle_former() {
    if (former_.empty()) {
        return;
    }
    if (!attached_ && state_directory_in_use(options_.state_directory)) {
        const LinkState state = link_.state();
        const bool turned = state.engine && !state.silent && state.engine->image == live_->number();
        // It has the image; its answer says that no lcore has another.
        if (!turned || !link_.attach()) {
            if (former_.size() <= kMaxFormerImages) {
                return;
            }
            log::warn("dpdk", "the engine does not turn from image-{}; what it counts there from now on is lost",
                      former_.front().image->number());
            const Former& oldest = former_.front();
            carry_counts(oldest.carried, Counts::of(oldest.image->tables()), live_->tables(), oldest.services);
            discard(std::move(former_.front().image));
            former_.erase(former_.begin());
            return;
        }
    }
    attached_ = true;
    for (Former& former : former_) {
        carry_counts(former.carried, Counts::of(former.image->tables()), live_->tables(), former.services);
        discard(std::move(former.image));
    }
    former_.clear();
}

void DpdkEngine::remove_stale_images() {
    for (const std::uint32_t number : list_images(options_.state_directory)) {
        const bool kept = number == live_->number() ||
                          std::any_of(former_.begin(), former_.end(),
                                      [&](const Former& former) { return former.image->number() == number; });
        if (kept) {
            continue;
        }
        if (auto removed = remove_image(options_.state_directory, number); !removed) {
            log::warn("dpdk", "{}", removed.error().to_string());
        }
    }
}

Result<void> DpdkEngine::follow_engine() {
    const std::uint32_t rows = lcores();
    if (!publisher_ || rows == 0 || rows == live_lcores_) {
        return {};
    }
    return replace_image(live_->capacities(), node_);
}

}  // namespace sluice::dpdk
