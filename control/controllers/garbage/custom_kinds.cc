#include "control/controllers/garbage/custom_kinds.h"

#include <algorithm>

#include "api/base/log.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::garbage {
namespace {

namespace extv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;

// The kind in the first version that is served; null while none is.
std::shared_ptr<const codec::KindInfo> kind_of(const extv1::CustomResourceDefinition& definition) {
    const auto& conditions = definition.status().conditions();
    const bool established = std::any_of(conditions.begin(), conditions.end(), [](const auto& condition) {
        return condition.type() == "Established" && condition.status() == "True";
    });
    if (!established) return nullptr;
    const auto& spec = definition.spec();
    const auto served =
        std::find_if(spec.versions().begin(), spec.versions().end(), [](const auto& one) { return one.served(); });
    if (served == spec.versions().end()) return nullptr;
    return std::make_shared<const codec::KindInfo>(codec::KindInfo{
        .gvk = {spec.group(), served->name(), definition.status().acceptednames().kind()},
        .resource = definition.status().acceptednames().plural(),
        .singular = definition.status().acceptednames().singular(),
        .short_names = {},
        .categories = {},
        .namespaced = spec.scope() == "Namespaced",
        .prototype = &codec::custom_object_prototype(),
        .list_prototype = &codec::custom_list_prototype(),
        .list_name = definition.status().acceptednames().listkind(),
    });
}

bool same(const codec::KindInfo& a, const codec::KindInfo& b) {
    return a.gvk == b.gvk && a.resource == b.resource && a.namespaced == b.namespaced;
}

}  // namespace

CustomKinds::~CustomKinds() {
    for (auto& [name, followed] : by_name_) followed.informer->stop();
}

void CustomKinds::end(Followed followed) {
    followed.informer->stop();
    for (const auto& object : followed.informer->list()) events_.changed(*followed.kind, object, nullptr);
}

void CustomKinds::sync(const std::string& name, const google::protobuf::Message* definition) {
    const auto kind = definition == nullptr
                          ? nullptr
                          : kind_of(static_cast<const extv1::CustomResourceDefinition&>(*definition));
    Followed old;
    {
        const std::lock_guard lock(mutex_);
        const auto found = by_name_.find(name);
        if (found != by_name_.end()) {
            if (kind != nullptr && same(*kind, *found->second.kind)) return;
            old = std::move(found->second);
            by_name_.erase(found);
        }
    }
    if (old.informer != nullptr) end(std::move(old));
    if (kind == nullptr) return;
    auto informer = std::make_unique<client::Informer>(client_, *kind);
    informer->add_handler(
        [this, kind](const auto& before, const auto& after) { events_.changed(*kind, before, after); });
    {
        const std::lock_guard lock(mutex_);
        if (by_name_.size() >= kMaxCustomKinds) {
            log::warn("garbage-collector", "more than {} custom kinds: objects of {} are not collected",
                      kMaxCustomKinds, name);
            return;
        }
        informer->start();
        by_name_[name] = Followed{kind, std::move(informer)};
    }
    events_.served(*kind);
}

std::shared_ptr<const codec::KindInfo> CustomKinds::find(const std::string& group, const std::string& kind) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, followed] : by_name_) {
        if (followed.kind->gvk.group == group && followed.kind->gvk.kind == kind) return followed.kind;
    }
    return nullptr;
}

}  // namespace sluice::controllers::garbage
