#include "control/apiserver/admission/matching/criteria.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <array>
#include <optional>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/rest/listing.h"

namespace sluice::admission {
namespace {

using registry::AdmissionRequest;
using registry::Answer;
using Rules = std::vector<NamedRule>;
using Strings = google::protobuf::RepeatedPtrField<std::string>;

bool lists(const Strings& values, std::string_view value) {
    return std::any_of(values.begin(), values.end(),
                       [value](const std::string& listed) { return listed == "*" || listed == value; });
}

bool names_resource(const Strings& values, std::string_view resource, std::string_view subresource) {
    return std::any_of(values.begin(), values.end(), [&](const std::string& listed) {
        const std::size_t slash = listed.find('/');
        const std::string_view first = std::string_view(listed).substr(0, slash);
        const std::string_view second =
            slash == std::string::npos ? std::string_view() : std::string_view(listed).substr(slash + 1);
        return (first == "*" || first == resource) && (second == "*" || second == subresource);
    });
}

bool fits(const NamedRule& rule, const AdmissionRequest& request, const codec::KindInfo& kind) {
    const auto& what = rule.what.rule();
    if (!lists(rule.what.operations(), operation_name(request.operation)) ||
        !lists(what.apigroups(), kind.gvk.group) || !lists(what.apiversions(), kind.gvk.version) ||
        !names_resource(what.resources(), kind.resource, request.subresource)) {
        return false;
    }
    if (what.scope() == "Namespaced" && !kind.namespaced) return false;
    if (what.scope() == "Cluster" && kind.namespaced) return false;
    return rule.names.empty() || std::find(rule.names.begin(), rule.names.end(), request.name) != rule.names.end();
}

bool selects(const codec::LabelSelector& selector, const registry::Message* object) {
    if (object == nullptr) return false;
    const auto& labels = codec::object_meta(*object).labels();
    return selector.matches([&labels](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    });
}

Answer<bool> selects_namespace(const codec::LabelSelector& selector, const AdmissionRequest& request) {
    const bool about_namespace = request.kind.gvk.group.empty() && request.kind.resource == "namespaces";
    if (selector.selects_everything()) return true;
    if (about_namespace) {
        // Of a change, the object has the newest labels.
        const bool newest = request.subresource.empty() && request.object != nullptr;
        return selects(selector, newest ? request.object : request.old);
    }
    if (!request.kind.namespaced) return true;
    const auto& kind = registry::kind_named("", "v1", "namespaces");
    const auto found = registry::read_stored(*request.call.core, kind, "", request.name_space);
    if (found == nullptr) return registry::refuse(registry::not_found(kind, request.name_space));
    return selects(selector, &found->message());
}

// The other versions in which the request's objects are served.
std::vector<Match> equivalents(const AdmissionRequest& request) {
    std::vector<Match> out;
    const codec::KindInfo& asked = *request.call.info.kind;
    if (request.call.custom == nullptr) {
        for (const auto& kind : codec::all_kinds()) {
            if (&kind == &asked || &request.call.core->strategies.of(kind) != request.call.strategy) continue;
            out.push_back({&kind, nullptr});
        }
        return out;
    }
    const auto snapshot = request.call.core->custom->snapshot();
    for (const auto& custom : snapshot->kinds) {
        const auto& kind = custom->kind();
        if (kind.gvk.group != asked.gvk.group || kind.resource != asked.resource || !custom->served() ||
            kind.gvk.version == asked.gvk.version) {
            continue;
        }
        out.push_back({&kind, custom});
    }
    return out;
}

Match match_any(const Rules& rules, bool equivalent, const AdmissionRequest& request) {
    const codec::KindInfo& asked = *request.call.info.kind;
    for (const NamedRule& rule : rules) {
        if (fits(rule, request, asked)) return {&asked, request.call.custom};
    }
    if (rules.empty() || !equivalent || request.connect != nullptr) return {};
    const auto others = equivalents(request);
    // Earlier rules before other versions.
    for (const NamedRule& rule : rules) {
        for (const Match& other : others) {
            if (fits(rule, request, *other.kind)) return other;
        }
    }
    return {};
}

void add_rules(const google::protobuf::RepeatedPtrField<admissionv1::NamedRuleWithOperations>& from, Rules* to) {
    for (const auto& rule : from) {
        to->push_back({rule.rulewithoperations(), {rule.resourcenames().begin(), rule.resourcenames().end()}});
    }
}

}  // namespace

codec::LabelSelector selector_of(const codec::metav1::LabelSelector& selector) {
    auto out = codec::LabelSelector::from_proto(selector);
    return out ? std::move(*out) : codec::LabelSelector::nothing();
}

Criteria criteria_of(const admissionv1::MatchResources& match, bool any_resource) {
    Criteria out;
    add_rules(match.resourcerules(), &out.rules);
    add_rules(match.excluderesourcerules(), &out.excluded);
    out.namespaces = selector_of(match.namespaceselector());
    out.objects = selector_of(match.objectselector());
    out.equivalent = match.matchpolicy() != "Exact";
    out.any_resource = any_resource;
    return out;
}

const char* operation_name(registry::Operation operation) {
    switch (operation) {
        case registry::Operation::kCreate: return "CREATE";
        case registry::Operation::kUpdate: return "UPDATE";
        case registry::Operation::kDelete: return "DELETE";
        case registry::Operation::kConnect: return "CONNECT";
    }
    return "";
}

bool may_be_about(const Criteria& criteria, std::string_view resource) {
    if (criteria.any_resource && criteria.rules.empty()) return true;
    for (const NamedRule& rule : criteria.rules) {
        for (const std::string_view named : rule.what.rule().resources()) {
            const std::string_view plural = named.substr(0, named.find('/'));
            if (plural == "*" || plural == resource) return true;
        }
    }
    return false;
}

Match match_rules(const Criteria& criteria, const AdmissionRequest& request) {
    if (match_any(criteria.excluded, criteria.equivalent, request).kind != nullptr) return {};
    if (criteria.any_resource && criteria.rules.empty()) return {request.call.info.kind, request.call.custom};
    return match_any(criteria.rules, criteria.equivalent, request);
}

Answer<Match> match(const Criteria& criteria, const AdmissionRequest& request) {
    // The rules first, as they cost least: who is not asked is not asked for either reason.
    Match out = match_rules(criteria, request);
    if (out.kind == nullptr) return out;
    auto in_namespace = selects_namespace(criteria.namespaces, request);
    if (!in_namespace) return registry::refuse(std::move(in_namespace).error());
    if (!*in_namespace) return Match{};
    if (criteria.objects.selects_everything() || selects(criteria.objects, request.object) ||
        selects(criteria.objects, request.old)) {
        return out;
    }
    return Match{};
}

bool is_exempt(const AdmissionRequest& request) {
    static constexpr std::array<std::string_view, 6> kResources = {
        "mutatingadmissionpolicies",       "mutatingadmissionpolicybindings",   "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",     "validatingadmissionpolicybindings", "validatingwebhookconfigurations"};
    return request.kind.gvk.group == "admissionregistration.k8s.io" &&
           std::find(kResources.begin(), kResources.end(), request.kind.resource) != kResources.end();
}

bool is_review(const AdmissionRequest& request) {
    return request.kind.gvk.group == "authentication.k8s.io" || request.kind.gvk.group == "authorization.k8s.io";
}

}  // namespace sluice::admission
