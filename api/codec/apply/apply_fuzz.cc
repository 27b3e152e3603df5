// Fuzzes server-side apply: the input is a live Pod, a configuration and managedFields, each as JSON on a line. Checks
// that fields taken from messages are those taken from JSON, that a forced apply leaves what it named, and that a
// refused one changes nothing.
#include <google/protobuf/message.h>

#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/codec/apply/managers.h"
#include "api/codec/apply/message_fields.h"
#include "api/codec/apply/schema.h"
#include "api/codec/apply/typed.h"
#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace {

namespace json = boost::json;
using sluice::codec::FieldSet;
using Pod = k8s::io::api::core::v1::Pod;

void require(bool holds) {
    if (!holds) std::abort();
}

std::string_view take_line(std::string_view* input) {
    const std::size_t end = input->find('\n');
    const std::string_view line = input->substr(0, end);
    input->remove_prefix(end == std::string_view::npos ? input->size() : end + 1);
    return line;
}

bool read(std::string_view text, Pod* out) {
    return sluice::codec::decode_json(text, out).has_value() && sluice::codec::normalise(out).has_value();
}

void compare_both_ways(const Pod& from, const Pod& to) {
    sluice::codec::ApplySchema schema;
    const auto trees = sluice::codec::compared(sluice::codec::to_json_value(from),
                                               sluice::codec::to_json_value(to), *Pod::descriptor(), schema);
    const auto messages = sluice::codec::compared(from, to);
    if (!trees) return;  // elements without keys, of which messages make a key without members
    require(trees->added == messages.added && trees->modified == messages.modified &&
            trees->removed == messages.removed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view input(reinterpret_cast<const char*>(data), size);
    const std::string_view live_text = take_line(&input);
    const std::string_view config_text = take_line(&input);
    const auto fields = FieldSet::from_json(take_line(&input));
    if (fields) require(FieldSet::from_json(fields->to_json()) == *fields);

    Pod live;
    Pod other;
    if (read(live_text, &live) && read(config_text, &other)) {
        compare_both_ways(live, other);
        compare_both_ways(Pod(), live);
        const auto made = FieldSet::from_json(sluice::codec::created_fields(live, {}));
        const auto change = sluice::codec::owned_change(sluice::codec::compared(Pod(), live), {});
        require(made.has_value() && *made == change.added.united(change.modified));
    }

    const auto live_tree = sluice::codec::parse_json(live_text);
    const auto config = sluice::codec::parse_json(config_text);
    if (!live_tree || !config || !live_tree->is_object() || !config->is_object()) return 0;
    if (!sluice::codec::check_typed(*config, *Pod::descriptor())) return 0;
    sluice::codec::Managers managers;
    if (fields && !fields->empty()) {
        managers[{"other", sluice::codec::ManagerOperation::kUpdate, "v1", ""}] = {*fields, "", "v1"};
        managers[{"me", sluice::codec::ManagerOperation::kApply, "", ""}] = {*fields, "", "v1"};
    }
    sluice::codec::ApplyOptions options;
    options.manager = {"me", sluice::codec::ManagerOperation::kApply, "v1", ""};
    json::value object = *live_tree;
    const auto before = managers.size();
    auto conflicts = sluice::codec::apply_config(&object, *config, *Pod::descriptor(), options, &managers);
    if (!conflicts || !conflicts->empty()) require(object == *live_tree && managers.size() == before);
    options.force = true;
    conflicts = sluice::codec::apply_config(&object, *config, *Pod::descriptor(), options, &managers);
    if (!conflicts) return 0;
    require(conflicts->empty());
    // The same again changes nothing.
    json::value again = object;
    conflicts = sluice::codec::apply_config(&again, *config, *Pod::descriptor(), options, &managers);
    require(!conflicts || (conflicts->empty() && again == object));
    return 0;
}
