// Fuzzes the three patches: the input is a document on one line, and a patch. Looks for crashes, and
// checks that a refused patch leaves the document as it was.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/codec/patch.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace json = boost::json;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const std::size_t split = input.find('\n');
    if (split == std::string_view::npos) return 0;
    boost::system::error_code error;
    const json::value document = json::parse(input.substr(0, split), error);
    if (error) return 0;
    const json::value patch = json::parse(input.substr(split + 1), error);
    if (error) return 0;

    json::value target = document;
    (void)sluice::codec::apply_merge_patch(&target, patch);
    target = document;
    if (!sluice::codec::apply_json_patch(&target, patch) && target != document) std::abort();
    target = document;
    if (!sluice::codec::apply_strategic_merge_patch(&target, patch,
                                                    *k8s::io::api::core::v1::Pod::descriptor()) &&
        target != document) {
        std::abort();
    }
    return 0;
}
