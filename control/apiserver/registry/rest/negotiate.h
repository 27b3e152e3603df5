// Content negotiation: what a client sends (Content-Type) and what it wants back (Accept, RFC 9110 section 12.5.1,
// with Kubernetes' parameters as, v and g).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/registry/rest/status_error.h"

namespace sluice::codec {
struct KindInfo;
}

namespace sluice::registry {

// Media ranges read from one Accept header; later ones are ignored.
inline constexpr std::size_t kMaxAcceptRanges = 64;

enum class Encoding { kJson, kYaml, kProtobuf };
enum class Form { kObject, kTable, kPartialMetadata };

struct OutputFormat {
    Encoding encoding = Encoding::kJson;
    Form form = Form::kObject;
    std::string form_version = "v1";  // of meta.k8s.io: v1 or v1beta1
    // The version of the kind that the client asked for; null: the stored one.
    const codec::KindInfo* served = nullptr;

    auto operator<=>(const OutputFormat&) const = default;
};

[[nodiscard]] std::string_view media_type(Encoding encoding);

// The Content-Type of a watch in this encoding.
[[nodiscard]] std::string_view watch_media_type(Encoding encoding);

enum class PatchType { kJson, kMerge, kStrategicMerge, kApply };

// The same for custom kinds, whose objects have no protobuf form; their metadata alone has.
Answer<OutputFormat> negotiate_custom_output(std::string_view accept, bool tables);
// Empty Accept means JSON. `tables`: the answer can be shown as a Table or as metadata only (reads).
Answer<OutputFormat> negotiate_output(std::string_view accept, bool tables);
// Empty Content-Type means JSON.
Answer<Encoding> negotiate_input(std::string_view content_type);
Answer<PatchType> negotiate_patch(std::string_view content_type);

}  // namespace sluice::registry
