#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <boost/json/serialize.hpp>

#include "api/codec/json.h"
#include "api/codec/patch.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/patching_private.h"

namespace sluice::registry {

namespace {

Answer<void> check_patch_error(const Result<void>& patched) {
    if (patched) return {};
    const Error& error = patched.error();
    if (error.code == Code::kFailedPrecondition) {
        StatusError refused;
        refused.code = 422;
        refused.reason = "Invalid";
        refused.message = "the server rejected our request due to an error in our request";
        refused.has_details = true;
        return refuse(std::move(refused));
    }
    if (error.code == Code::kResourceExhausted) {
        StatusError refused;
        refused.code = 413;
        refused.reason = "RequestEntityTooLarge";
        refused.message = fmt::format("Request entity too large: {}", error.message);
        return refuse(std::move(refused));
    }
    if (error.code == Code::kInternal) return refuse(unclassified(error.message));
    return refuse(bad_request(error.message));
}

// Whether the patch could see or change metadata.managedFields.
bool touches_managed_fields(const Patch& patch) {
    if (patch.type == PatchType::kJson) {
        const auto* operations = patch.document.if_array();
        if (operations == nullptr) return true;
        for (const auto& operation : *operations) {
            const auto* members = operation.if_object();
            if (members == nullptr) return true;
            for (const char* name : {"path", "from"}) {
                const auto* path = members->if_contains(name);
                if (path == nullptr) continue;
                if (!path->is_string()) return true;
                const std::string_view text(path->get_string().data(), path->get_string().size());
                if (text.empty() || text == "/metadata" || text.starts_with("/metadata/managedFields")) return true;
            }
        }
        return false;
    }
    const auto* members = patch.document.if_object();
    const auto* metadata = members == nullptr ? nullptr : members->if_contains("metadata");
    if (metadata == nullptr) return false;
    return !metadata->is_object() || metadata->as_object().contains("managedFields");
}

// Of a JSON patch, kube-apiserver says in which operation.
void find_in_operations(const boost::json::value& document, codec::FieldWarnings* findings) {
    for (std::string& finding : *findings) finding = "json patch " + finding;
    const auto* operations = document.if_array();
    if (operations == nullptr) return;
    for (std::size_t i = 0; i < operations->size(); ++i) {
        const auto* members = (*operations)[i].if_object();
        if (members == nullptr) continue;
        for (const auto& [name, value] : *members) {
            if (name == "op" || name == "path" || name == "from" || name == "value") continue;
            if (findings->size() >= codec::kMaxFieldWarnings) return;
            findings->push_back(fmt::format("json patch unknown field \"[{}].{}\"", i, std::string_view(name)));
        }
    }
}

}  // namespace

Answer<std::unique_ptr<Message>> read_patched(const boost::json::value& document, const Patch& patch,
                                              const Strategy& strategy, const codec::KindInfo& served,
                                              FieldValidation validation, std::vector<std::string>* warnings) {
    const PatchedBy by{patch.findings, [&] {
                           return patch.type == PatchType::kStrategicMerge ? codec::go_format(patch.document)
                                                                           : boost::json::serialize(document);
                       }};
    return read_document(document, strategy, served, validation, warnings, &by);
}

Answer<Patch> read_patch(const http::Request& request) {
    auto type = negotiate_patch(request.header("content-type"));
    if (!type) return refuse(std::move(type).error());
    const bool applies = *type == PatchType::kApply;
    codec::FieldWarnings findings;
    auto document = codec::parse_json(request.body, &findings);
    // Clients may write any patch as YAML, as kube-apiserver lets them.
    if (!document && *type != PatchType::kJson) document = codec::yaml_to_json(request.body);
    if (!document) {
        return refuse(
            bad_request(fmt::format("error decoding patch: {}", document.error().message)));
    }
    if (applies && !document->is_object()) {
        return refuse(bad_request(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            "into Go value of type map[string]interface {}"));
    }
    if (*type == PatchType::kJson) find_in_operations(*document, &findings);
    return Patch{*type, std::move(*document), std::move(findings)};
}

Answer<boost::json::value> apply_patch_to(const Message& object, const codec::GroupVersionKind& gvk,
                                          const Patch& patch) {
    boost::json::value document;
    if (codec::object_meta(object).managedfields_size() > 0 && !touches_managed_fields(patch)) {
        // They are more than half of many an object; absent, they stay as they are.
        const std::unique_ptr<Message> bare(object.New());
        bare->CopyFrom(object);
        codec::object_meta(*bare).clear_managedfields();
        document = codec::to_json_value(*bare, &gvk);
    } else {
        document = codec::to_json_value(object, &gvk);
    }
    Result<void> patched;
    switch (patch.type) {
        case PatchType::kJson:
            patched = codec::apply_json_patch(&document, patch.document);
            break;
        case PatchType::kMerge:
            patched = codec::apply_merge_patch(&document, patch.document);
            break;
        case PatchType::kApply: return refuse(unclassified("an apply is no change of a document"));
        case PatchType::kStrategicMerge:
            patched = codec::apply_strategic_merge_patch(&document, patch.document,
                                                         *object.GetDescriptor());
            break;
    }
    if (auto ok = check_patch_error(patched); !ok) return refuse(std::move(ok).error());
    return document;
}

}  // namespace sluice::registry
