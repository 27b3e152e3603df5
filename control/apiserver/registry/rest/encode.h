// Answers as bytes: objects, lists, Tables, metadata only, Status and watch frames, in each encoding.
// Pure and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/registry/rest/negotiate.h"
#include "control/apiserver/registry/rest/stored_object.h"
#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

// What a Table row carries of its object.
enum class RowObject { kMetadata, kFull, kNone };

struct ListPage {
    std::vector<ObjectPtr> items;
    std::uint64_t revision = 0;
    std::string continue_token;
    std::optional<std::uint64_t> remaining;
};

// One object as JSON with kind and apiVersion first.
[[nodiscard]] std::string object_json(const StoredObject& object);
// The envelope "k8s\0" + runtime.Unknown around an already encoded message.
[[nodiscard]] std::string wrap_protobuf(const codec::GroupVersionKind& gvk, std::string_view raw);

[[nodiscard]] std::string encode_object(const Strategy& strategy, const StoredObject& object,
                                        const OutputFormat& format, RowObject rows);
[[nodiscard]] std::string encode_list(const Strategy& strategy, const ListPage& page,
                                      const OutputFormat& format, RowObject rows);
[[nodiscard]] std::string encode_status(const codec::metav1::Status& status, Encoding encoding);

enum class EventType { kAdded, kModified, kDeleted, kBookmark };

// One frame of a watch: a line of JSON, or a length and a WatchEvent. `columns`: a Table frame that carries
// columnDefinitions (the first of its stream).
[[nodiscard]] std::string encode_event(EventType type, const Strategy& strategy,
                                       const StoredObject& object, const OutputFormat& format,
                                       RowObject rows, bool columns);
// The same at the end of `out`. Frames of whole objects are made once and kept with the object.
void append_event(std::string* out, EventType type, const Strategy& strategy,
                  const StoredObject& object, const OutputFormat& format, RowObject rows,
                  bool columns);
// A bookmark shows nothing but the version; `initial_end` adds k8s.io/initial-events-end.
[[nodiscard]] std::string encode_bookmark(const Strategy& strategy, store::Revision revision,
                                          bool initial_end, const OutputFormat& format,
                                          bool columns);
[[nodiscard]] std::string encode_error_event(const codec::metav1::Status& status,
                                             Encoding encoding);

}  // namespace sluice::registry
