// Patches over JSON documents: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and strategic merge
// patch (keys and strategies from the message's options). Errors are worded as kube-apiserver words them.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"

namespace boost::json {
class value;
}
namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

// Operations in one JSON patch, and the bytes that its copies may add, as in kube-apiserver.
inline constexpr std::size_t kMaxJsonPatchOperations = 10'000;
inline constexpr std::size_t kMaxJsonPatchCopyBytes = 3U << 20U;

// *target becomes the patched document; unchanged if an error is returned.
Result<void> apply_merge_patch(boost::json::value* target, const boost::json::value& patch);
// patch: the array of operations. A failed test or a missing path is kFailedPrecondition; a malformed
// patch is kInvalidArgument.
Result<void> apply_json_patch(boost::json::value* target, const boost::json::value& patch);
// type: the message that the document holds. $patch, $setElementOrder/, $deleteFromPrimitiveList/,
// $retainKeys as in Kubernetes. An element without its merge key is kInternal (a 500 there, too).
Result<void> apply_strategic_merge_patch(boost::json::value* target, const boost::json::value& patch,
                                         const google::protobuf::Descriptor& type);

// As Go prints a decoded document with %v, since such text stands in kube-apiserver's messages:
// `map[image:q name:c]`, `[a b]`. Long values are cut.
[[nodiscard]] std::string go_format(const boost::json::value& value);

}  // namespace sluice::codec
