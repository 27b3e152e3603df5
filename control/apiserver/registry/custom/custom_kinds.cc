// The set of custom kinds, replaced as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/versions/hooks.h"

namespace sluice::registry {

namespace {

// (stability, major, minor); 0 stability: not a version of Kubernetes' form.
std::tuple<int, long, long> version_rank(std::string_view version) {
    if (!version.starts_with("v")) return {0, 0, 0};
    version.remove_prefix(1);
    const auto number = [&version](long* out) {
        const auto done = std::from_chars(version.data(), version.data() + version.size(), *out);
        if (done.ec != std::errc() || *out <= 0) return false;
        version.remove_prefix(static_cast<std::size_t>(done.ptr - version.data()));
        return true;
    };
    constexpr int kAlpha = 1;
    constexpr int kBeta = 2;
    constexpr int kStable = 3;
    long major = 0;
    long minor = 0;
    if (!number(&major)) return {0, 0, 0};
    if (version.empty()) return {kStable, major, 0};
    const bool beta = version.starts_with("beta");
    if (!beta && !version.starts_with("alpha")) return {0, 0, 0};
    version.remove_prefix(beta ? 4 : 5);
    if (!number(&minor) || !version.empty()) return {0, 0, 0};
    return {beta ? kBeta : kAlpha, major, minor};
}

}  // namespace

bool preferred_before(std::string_view a, std::string_view b) {
    const auto left = version_rank(a);
    const auto right = version_rank(b);
    if (left != right) return left > right;
    return std::get<0>(left) == 0 && a < b;
}

CustomKinds::CustomKinds(std::function<void(const codec::KindInfo&)> forget)
    : forget_(std::move(forget)), snapshot_(std::make_shared<const CustomSnapshot>()) {}

CustomKinds::~CustomKinds() = default;

std::shared_ptr<const CustomSnapshot> CustomKinds::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

CustomKindPtr CustomKinds::find(std::string_view group, std::string_view version,
                                std::string_view resource) const {
    const auto now = snapshot();
    const auto found = now->served.find(fmt::format("{}/{}/{}", group, version, resource));
    return found == now->served.end() ? nullptr : found->second;
}

bool CustomKinds::serves(std::string_view group, std::string_view version) const {
    const auto now = snapshot();
    const std::string prefix = fmt::format("{}/{}/", group, version);
    const auto found = now->served.lower_bound(prefix);
    return found != now->served.end() && found->first.starts_with(prefix);
}

void CustomKinds::set_hooks(std::unique_ptr<ConversionHooks> hooks) { hooks_ = std::move(hooks); }

void CustomKinds::replace(std::vector<CustomKindPtr> kinds) {
    auto next = std::make_shared<CustomSnapshot>();
    std::ranges::stable_sort(kinds, [](const CustomKindPtr& a, const CustomKindPtr& b) {
        const auto& left = a->kind();
        const auto& right = b->kind();
        if (left.gvk.group != right.gvk.group) return left.gvk.group < right.gvk.group;
        if (left.gvk.version != right.gvk.version) {
            return preferred_before(left.gvk.version, right.gvk.version);
        }
        return left.resource < right.resource;
    });
    for (const CustomKindPtr& one : kinds) {
        const auto& info = one->kind();
        if (!one->served()) continue;
        next->served[fmt::format("{}/{}/{}", info.gvk.group, info.gvk.version, info.resource)] =
            one;
    }
    next->kinds = std::move(kinds);
    {
        const std::lock_guard lock(mutex_);
        next->generation = snapshot_->generation + 1;
        for (const CustomKindPtr& one : snapshot_->kinds) {
            if (std::ranges::find(next->kinds, one) == next->kinds.end()) retired_.push_back(one);
        }
        snapshot_ = next;
    }
    reclaim();
    const std::lock_guard lock(listener_mutex_);
    if (listener_) listener_(*next);
}

void CustomKinds::on_change(std::function<void(const CustomSnapshot&)> listener) {
    const std::lock_guard lock(listener_mutex_);
    listener_ = std::move(listener);
    listener_(*snapshot());
}

std::size_t CustomKinds::retired() const {
    const std::lock_guard lock(mutex_);
    return retired_.size();
}

void CustomKinds::reclaim() {
    std::vector<CustomKindPtr> free;
    {
        const std::lock_guard lock(mutex_);
        // Only this list holds it, and nobody finds it any more, so that the count cannot rise again.
        const auto held = [](const CustomKindPtr& one) { return one.use_count() > 1; };
        const auto middle = std::stable_partition(retired_.begin(), retired_.end(), held);
        free.assign(std::make_move_iterator(middle), std::make_move_iterator(retired_.end()));
        retired_.erase(middle, retired_.end());
    }
    for (const CustomKindPtr& one : free) forget_(one->kind());
}

}  // namespace sluice::registry
