// Event: what happened to an object, and how often.
#include <fmt/format.h>

#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::size_t kMaxWord = 128;
constexpr std::size_t kMaxMessage = 1024;

constexpr Column kColumns[] = {
    {"Last Seen", "string", "", "Time since it happened last."},
    {"Type", "string", "", "Normal or Warning."},
    {"Reason", "string", "", "Why it happened, in one word."},
    {"Object", "string", "", "What it happened to."},
    {"Subobject", "string", "", "Which part of the object.", 1},
    {"Source", "string", "", "Who reported it.", 1},
    {"Message", "string", "", "What happened, in a sentence."},
    {"First Seen", "string", "", "Time since it happened first.", 1},
    {"Count", "string", "", "How often it happened.", 1},
    {"Name", "string", "name", "Name must be unique within a namespace.", 1},
};
constexpr std::string_view kFields[] = {
    "involvedObject.kind",       "involvedObject.namespace",       "involvedObject.name",
    "involvedObject.uid",        "involvedObject.apiVersion",      "involvedObject.resourceVersion",
    "involvedObject.fieldPath",  "reason",                         "reportingComponent",
    "source",                    "type",
};

std::string lower_kind(const std::string& kind) {
    std::string out = kind;
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

// Whoever knows eventTime fills in the other newer fields too, whichever version it writes through.
bool is_new_style(const corev1::Event& object) {
    return object.eventtime().seconds() != 0 || object.eventtime().nanos() != 0;
}

void check_word(const std::string& text, const char* field, std::size_t limit, bool required,
                FieldErrors* errors) {
    if (required && text.empty()) errors->required(field);
    if (text.size() > limit) {
        errors->invalid(field, "", fmt::format("can have at most {} characters", limit));
    }
}

void check_new_style(const corev1::Event& object, FieldErrors* errors) {
    const std::string& controller = object.reportingcomponent();
    if (controller.empty()) errors->required("reportingController");
    errors->invalid_all("reportingController", controller, check_qualified_name(controller));
    check_word(object.reportinginstance(), "reportingInstance", kMaxWord, true, errors);
    check_word(object.action(), "action", kMaxWord, true, errors);
    check_word(object.reason(), "reason", kMaxWord, true, errors);
    check_word(object.message(), "message", kMaxMessage, false, errors);
}

class EventStrategy final : public TypedStrategy<corev1::Event> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }

protected:
    void check(const corev1::Event& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const std::string& involved = object.involvedobject().namespace_();
        const std::string& own = object.metadata().namespace_();
        const bool with_time = is_new_style(object);
        // Events about cluster-scoped objects live in default.
        const bool fits = involved.empty()
                              ? own == "default" || (with_time && own == "kube-system")
                              : with_time || involved == own;
        if (!fits) {
            errors->invalid("involvedObject.namespace", involved,
                            "does not match event.namespace");
        }
        if (with_time) check_new_style(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Event& object) const override {
        std::int64_t first = object.firsttimestamp().seconds();
        if (first == 0) first = object.eventtime().seconds();
        std::int64_t last = object.lasttimestamp().seconds();
        std::int64_t count = object.count();
        if (object.has_series()) {
            last = object.series().lastobservedtime().seconds();
            count = object.series().count();
        }
        if (last == 0) last = first;
        if (count == 0) count = 1;
        std::string source = object.source().component().empty() ? object.reportingcomponent()
                                                                 : object.source().component();
        if (!object.source().host().empty()) source += ", " + object.source().host();
        std::string target = lower_kind(object.involvedobject().kind());
        if (!object.involvedobject().name().empty()) {
            target += "/" + object.involvedobject().name();
        }
        return {age_since(last),
                object.type(),
                object.reason(),
                target,
                object.involvedobject().fieldpath(),
                source,
                object.message(),
                age_since(first),
                count,
                object.metadata().name()};
    }
    [[nodiscard]] std::string field_of(const corev1::Event& object,
                                       std::string_view field) const override {
        const auto& involved = object.involvedobject();
        if (field == "involvedObject.kind") return involved.kind();
        if (field == "involvedObject.namespace") return involved.namespace_();
        if (field == "involvedObject.name") return involved.name();
        if (field == "involvedObject.uid") return involved.uid();
        if (field == "involvedObject.apiVersion") return involved.apiversion();
        if (field == "involvedObject.resourceVersion") return involved.resourceversion();
        if (field == "involvedObject.fieldPath") return involved.fieldpath();
        if (field == "reason") return object.reason();
        if (field == "reportingComponent") return object.reportingcomponent();
        if (field == "source") {
            return object.source().component().empty() ? object.reportingcomponent()
                                                       : object.source().component();
        }
        if (field == "type") return object.type();
        return {};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_event_strategy(const codec::KindInfo& kind) {
    return std::make_unique<EventStrategy>(kind);
}

}  // namespace sluice::registry
