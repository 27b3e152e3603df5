// Connects the collector to the API: metadata from informers of all kinds, decisions by the client.
#include <google/protobuf/message.h>

#include <algorithm>

#include "api/base/log.h"
#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/garbage/collector.h"
#include "control/controllers/garbage/custom_kinds.h"
#include "control/controllers/garbage/garbage.h"

namespace sluice::controllers {
namespace {

using garbage::Coordinates;
using garbage::Facts;
using garbage::Owner;
using garbage::Policy;

Facts facts_of(const codec::KindInfo& kind, const google::protobuf::Message& object) {
    const auto& meta = codec::object_meta(object);
    Facts out;
    out.where = {kind.gvk.api_version(), kind.gvk.kind, meta.namespace_(), meta.name()};
    out.uid = meta.uid();
    out.resource_version = meta.resourceversion();
    for (const auto& ref : meta.ownerreferences()) {
        out.owners.push_back(
            {ref.apiversion(), ref.kind(), ref.name(), ref.uid(), ref.blockownerdeletion()});
    }
    out.deleting = meta.has_deletiontimestamp();
    const auto has = [&](const char* finalizer) {
        return std::find(meta.finalizers().begin(), meta.finalizers().end(), finalizer) !=
               meta.finalizers().end();
    };
    out.foreground = has(garbage::kForegroundFinalizer);
    out.orphan = has(garbage::kOrphanFinalizer);
    return out;
}

constexpr char kComponent[] = "garbage-collector";
constexpr char kMergePatch[] = "application/merge-patch+json";
// Before the name of a CustomResourceDefinition in the queue, whose other keys are uids.
constexpr std::string_view kDefinition = "definition/";

// A kind of the scheme is held by nobody.
using Kind = std::shared_ptr<const codec::KindInfo>;

Kind scheme_kind(const codec::KindInfo* kind) { return {Kind(), kind}; }

bool is_custom(const codec::KindInfo& kind) { return kind.prototype == &codec::custom_object_prototype(); }

class ApiAccess final : public garbage::ObjectApi {
public:
    ApiAccess(Context& context, const garbage::CustomKinds& custom) : context_(context), custom_(custom) {}

    [[nodiscard]] std::optional<bool> is_namespaced(const std::string& api_version,
                                                    const std::string& kind) const override {
        const auto found = kind_named(api_version, kind);
        if (found == nullptr) return std::nullopt;
        return found->namespaced;
    }

    Result<std::optional<Facts>> get(const Coordinates& where) override {
        SLUICE_TRY_ASSIGN(const auto kind, kind_of(where));
        SLUICE_TRY_ASSIGN(const auto object, read(*kind, where));
        if (object == nullptr) return std::optional<Facts>();
        return std::optional<Facts>(facts_of(*kind, *object));
    }

    Result<void> remove(const Facts& object, Policy policy) override {
        client::DeleteRequest request;
        request.uid = object.uid;
        request.resource_version = object.resource_version;
        request.propagation_policy = policy == Policy::kForeground ? "Foreground"
                                     : policy == Policy::kOrphan   ? "Orphan"
                                                                   : "Background";
        SLUICE_TRY_ASSIGN(const auto kind, kind_of(object.where));
        const auto done = context_.client.remove(*kind, object.where.namespace_name,
                                                 object.where.name, request);
        if (!done && !done.error().not_found()) return failed(done.error(), "delete", object);
        return {};
    }

    Result<void> drop_owners(const Facts& object, const std::vector<std::string>& uids) override {
        return change(object, "release", [&](codec::metav1::ObjectMeta* meta) {
            auto* refs = meta->mutable_ownerreferences();
            const auto gone = [&](const auto& ref) {
                return std::find(uids.begin(), uids.end(), ref.uid()) != uids.end();
            };
            refs->erase(std::remove_if(refs->begin(), refs->end(), gone), refs->end());
        });
    }

    Result<void> unblock_owners(const Facts& object) override {
        return change(object, "unblock the owners of", [](codec::metav1::ObjectMeta* meta) {
            for (auto& ref : *meta->mutable_ownerreferences()) ref.set_blockownerdeletion(false);
        });
    }

    Result<void> drop_finalizer(const Facts& object, const std::string& finalizer) override {
        return change(object, "finalize", [&](codec::metav1::ObjectMeta* meta) {
            auto* finalizers = meta->mutable_finalizers();
            finalizers->erase(std::remove(finalizers->begin(), finalizers->end(), finalizer),
                              finalizers->end());
        });
    }

    void report_invalid_owner(const Facts& object, const Owner& owner) override {
        const auto kind = kind_named(object.where.api_version, object.where.kind);
        if (kind == nullptr || is_custom(*kind)) {
            // Events are made of objects of the scheme.
            log::warn(kComponent, "{}: its owner {} {} (uid {}) is not in its namespace", object.where.to_string(),
                      owner.kind, owner.name, owner.uid);
            return;
        }
        const auto blank = kind->new_object();
        auto& meta = codec::object_meta(*blank);
        meta.set_namespace_(object.where.namespace_name);
        meta.set_name(object.where.name);
        meta.set_uid(object.uid);
        context_.events.record(
            *blank, client::EventType::kWarning, "OwnerRefInvalidNamespace",
            fmt::format("ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in "
                        "namespace \"{}\"",
                        owner.api_version, owner.kind, object.where.namespace_name, owner.name,
                        owner.uid, object.where.namespace_name));
    }

private:
    // Null when there is none.
    [[nodiscard]] Kind kind_named(const std::string& api_version, const std::string& kind) const {
        const auto gvk = codec::GroupVersionKind::parse(api_version, kind);
        if (!gvk) return nullptr;
        if (const auto* exact = codec::find_kind(*gvk)) return scheme_kind(exact);
        // Another version of a kind that exists is the same object.
        for (const auto& candidate : codec::all_kinds()) {
            if (candidate.gvk.group == gvk->group && candidate.gvk.kind == gvk->kind) return scheme_kind(&candidate);
        }
        return custom_.find(gvk->group, gvk->kind);
    }
    // A custom kind may have gone since its object was seen.
    [[nodiscard]] Result<Kind> kind_of(const Coordinates& where) const {
        auto kind = kind_named(where.api_version, where.kind);
        if (kind == nullptr) return make_error(Code::kNotFound, "{} is of no kind that is served", where.to_string());
        return kind;
    }

    static Error failed(const client::ApiError& error, const char* verb, const Facts& object) {
        return error.with_context(fmt::format("cannot {} {}", verb, object.where.to_string()));
    }

    // Null: there is none.
    Result<client::Object> read(const codec::KindInfo& kind, const Coordinates& where) {
        auto found = context_.client.get(kind, where.namespace_name, where.name);
        if (found) return std::move(*found);
        if (found.error().not_found()) return client::Object();
        return found.error().with_context("cannot read " + where.to_string());
    }

    // Changes the metadata of the object as it now is; a write in between is a conflict, to be
    // tried again.
    template <class Change>
    Result<void> change(const Facts& object, const char* verb, const Change& apply) {
        SLUICE_TRY_ASSIGN(const auto kind, kind_of(object.where));
        SLUICE_TRY_ASSIGN(const auto current, read(*kind, object.where));
        if (current == nullptr || codec::object_meta(*current).uid() != object.uid) {
            return make_error(Code::kNotFound, "{} is gone", object.where.to_string());
        }
        const std::string before = codec::object_meta(*current).SerializeAsString();
        apply(&codec::object_meta(*current));
        if (before == codec::object_meta(*current).SerializeAsString()) return {};
        const auto stored = is_custom(*kind)
                                ? context_.client.patch(*kind, object.where.namespace_name, object.where.name,
                                                        kMergePatch, metadata_patch(codec::object_meta(*current)))
                                : context_.client.update(*kind, *current);
        if (!stored) return failed(stored.error(), verb, object);
        return {};
    }

    // Custom objects are written as JSON alone: of one, what the collector may change, and what must not have changed.
    static std::string metadata_patch(const codec::metav1::ObjectMeta& meta) {
        codec::metav1::ObjectMeta kept;
        kept.set_uid(meta.uid());
        kept.set_resourceversion(meta.resourceversion());
        *kept.mutable_ownerreferences() = meta.ownerreferences();
        *kept.mutable_finalizers() = meta.finalizers();
        std::string text = codec::encode_json(kept);
        text.pop_back();
        if (meta.ownerreferences().empty()) text += R"(,"ownerReferences":null)";
        if (meta.finalizers().empty()) text += R"(,"finalizers":null)";
        return R"({"metadata":)" + text + "}}";
    }

    Context& context_;
    const garbage::CustomKinds& custom_;
};

class GarbageCollector final : public Controller {
public:
    explicit GarbageCollector(Context& context)
        : definitions_(context.informers.get(
              *codec::find_resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"))),
          api_(context, custom_),
          collector_(api_, [this](const std::string& uid) { queue_.add(uid); }),
          custom_(context.client, {[this](const auto& kind, const auto& before, const auto& after) {
                                       take(kind, before, after);
                                   },
                                   [this](const codec::KindInfo& kind) {
                                       collector_.graph().look_at_kind(kind.gvk.group, kind.gvk.kind);
                                   }}) {
        for (const auto& kind : codec::all_kinds()) {
            // Events refer to objects without being owned by them, and are the most numerous kind.
            if (kind.gvk.kind == "Event") continue;
            context.informers.get(kind).add_handler(
                [this, &kind](const auto& before, const auto& after) { take(kind, before, after); });
        }
        definitions_.add_handler([this](const auto& before, const auto& after) {
            queue_.add(std::string(kDefinition) + codec::object_meta(after != nullptr ? *after : *before).name());
        });
    }

    [[nodiscard]] const char* name() const override { return "garbage-collector-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 4; }
    Reconciled reconcile(const std::string& key) override {
        if (!key.starts_with(kDefinition)) return collector_.look_at(key);
        const std::string name = key.substr(kDefinition.size());
        custom_.sync(name, definitions_.get(name).get());
        return {};
    }

private:
    void take(const codec::KindInfo& kind, const client::SharedObject& before, const client::SharedObject& after) {
        if (before != nullptr &&
            (after == nullptr || codec::object_meta(*before).uid() != codec::object_meta(*after).uid())) {
            collector_.graph().erase(codec::object_meta(*before).uid());
        }
        if (after != nullptr) collector_.graph().upsert(facts_of(kind, *after));
    }

    client::WorkQueue queue_;
    client::Informer& definitions_;
    ApiAccess api_;
    garbage::Collector collector_;
    garbage::CustomKinds custom_;  // last: its informers' handlers use the rest
};

}  // namespace

std::unique_ptr<Controller> make_garbage_collector(Context& context) {
    return std::make_unique<GarbageCollector>(context);
}

}  // namespace sluice::controllers
