#include "control/apiserver/admission/policy/params.h"

#include <google/protobuf/message.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/cel/json.h"

namespace sluice::admission {
namespace {

Result<cel::Value> value_of(const ParamSource& source, const registry::StoredObject& object) {
    const codec::GroupVersionKind& gvk = source.kind->gvk;
    const std::string text =
        source.held != nullptr || source.kind == &object.kind()
            ? codec::encode_json(object.message(), &gvk)
            : codec::encode_json(*registry::to_served(*source.kind, object.message()), &gvk);
    SLUICE_TRY_ASSIGN(auto parsed, codec::parse_json(text));
    return cel::json_view(std::make_shared<const boost::json::value>(std::move(parsed)));
}

bool selects(const codec::LabelSelector& selector, const registry::StoredObject& object) {
    const auto& labels = object.meta().labels();
    return selector.matches([&labels](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    });
}

}  // namespace

Result<ParamSource> param_source(registry::Core& core, const codec::GroupVersionKind& gvk) {
    if (const codec::KindInfo* kind = codec::find_kind(gvk)) return ParamSource{kind, &core.strategies.of(*kind), {}};
    const auto snapshot = core.custom->snapshot();
    for (const auto& custom : snapshot->kinds) {
        if (custom->served() && custom->kind().gvk == gvk) {
            return ParamSource{&custom->kind(), &custom->strategy(), custom};
        }
    }
    return make_error(Code::kNotFound, "failed to find resource referenced by paramKind: '{}, Kind={}'",
                      gvk.group.empty() ? "/" + gvk.version : gvk.api_version(), gvk.kind);
}

Result<std::vector<cel::Value>> collect_params(registry::Core& core, const ParamSource& source,
                                               const std::optional<PolicyBinding::Params>& wanted,
                                               std::string_view name_space) {
    std::vector<cel::Value> out;
    if (!wanted) {
        out.push_back(cel::Value::null());
        return out;
    }
    std::string where;
    if (source.kind->namespaced) {
        where = wanted->name_space.empty() ? std::string(name_space) : wanted->name_space;
        if (where.empty()) {
            return make_error(Code::kInvalidArgument,
                              "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
        }
    } else if (!wanted->name_space.empty()) {
        return make_error(Code::kInvalidArgument,
                          "paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
    }
    if (!wanted->name.empty()) {
        const auto found = registry::read_object(core, *source.strategy, where, wanted->name);
        constexpr int kNotFound = 404;
        if (!found && found.error().code != kNotFound) {
            return make_error(Code::kUnavailable, "{}", found.error().message);
        }
        if (found) {
            SLUICE_TRY_ASSIGN(auto value, value_of(source, **found));
            out.push_back(std::move(value));
        }
    } else {
        for (const auto& object : registry::list_stored(core, *source.strategy, where)) {
            if (!selects(wanted->selector, *object)) continue;
            SLUICE_TRY_ASSIGN(auto value, value_of(source, *object));
            out.push_back(std::move(value));
        }
    }
    if (out.empty() && wanted->deny_if_missing) {
        return make_error(Code::kNotFound,
                          "no params found for policy binding with `Deny` parameterNotFoundAction");
    }
    return out;
}

}  // namespace sluice::admission
