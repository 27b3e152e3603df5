#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/codec/json.h"
#include "api/codec/patch.h"
#include "api/codec/yaml.h"
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
    if (error.code == Code::kInternal) return refuse(unclassified(error.message));
    return refuse(bad_request(error.message));
}

}  // namespace

Answer<Patch> read_patch(const http::Request& request) {
    auto type = negotiate_patch(request.header("content-type"));
    if (!type) return refuse(std::move(type).error());
    auto document = codec::parse_json(request.body);
    // Clients may write any patch as YAML, as kube-apiserver lets them.
    if (!document && *type != PatchType::kJson) document = codec::yaml_to_json(request.body);
    if (!document) {
        return refuse(
            bad_request(fmt::format("error decoding patch: {}", document.error().message)));
    }
    return Patch{*type, std::move(*document)};
}

Answer<boost::json::value> apply_patch_to(const Message& object, const codec::GroupVersionKind& gvk,
                                          const Patch& patch) {
    boost::json::value document = codec::to_json_value(object, &gvk);
    Result<void> patched;
    switch (patch.type) {
        case PatchType::kJson:
            patched = codec::apply_json_patch(&document, patch.document);
            break;
        case PatchType::kMerge:
            patched = codec::apply_merge_patch(&document, patch.document);
            break;
        case PatchType::kStrategicMerge:
            patched = codec::apply_strategic_merge_patch(&document, patch.document,
                                                         *object.GetDescriptor());
            break;
    }
    if (auto ok = check_patch_error(patched); !ok) return refuse(std::move(ok).error());
    return document;
}

}  // namespace sluice::registry
