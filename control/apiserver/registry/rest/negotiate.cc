#include "control/apiserver/registry/rest/negotiate.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace sluice::registry {

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kYaml = "application/yaml";
constexpr std::string_view kProtobuf = "application/vnd.kubernetes.protobuf";
constexpr std::string_view kAllTypes =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

struct MediaRange {
    std::string type;
    double quality = 1.0;
    std::string as;
    std::string version;
    std::string group;
};

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

// Takes the text up to `separator` off the front.
std::string_view take(std::string_view* text, char separator) {
    const std::size_t end = text->find(separator);
    const std::string_view part = text->substr(0, end);
    text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
    return trim(part);
}

MediaRange parse_range(std::string_view text) {
    MediaRange range;
    range.type = lower(take(&text, ';'));
    while (!text.empty()) {
        std::string_view parameter = take(&text, ';');
        const std::string name = lower(take(&parameter, '='));
        std::string_view value = parameter;
        if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
            value = value.substr(1, value.size() - 2);
        }
        if (name == "q") {
            const std::string number(value.substr(0, 8));
            range.quality = std::clamp(std::strtod(number.c_str(), nullptr), 0.0, 1.0);
        } else if (name == "as") {
            range.as = value;
        } else if (name == "v") {
            range.version = value;
        } else if (name == "g") {
            range.group = value;
        }
    }
    return range;
}

bool encoding_of(std::string_view type, Encoding* out) {
    if (type == kJson || type == "*/*" || type == "application/*") {
        *out = Encoding::kJson;
    } else if (type == kYaml) {
        *out = Encoding::kYaml;
    } else if (type == kProtobuf) {
        *out = Encoding::kProtobuf;
    } else {
        return false;
    }
    return true;
}

}  // namespace

std::string_view media_type(Encoding encoding) {
    switch (encoding) {
        case Encoding::kJson: return kJson;
        case Encoding::kYaml: return kYaml;
        case Encoding::kProtobuf: return kProtobuf;
    }
    return kJson;
}

std::string_view watch_media_type(Encoding encoding) {
    if (encoding == Encoding::kProtobuf) return "application/vnd.kubernetes.protobuf;stream=watch";
    return media_type(encoding);
}

Answer<OutputFormat> negotiate_output(std::string_view accept, bool tables) {
    if (trim(accept).empty()) return OutputFormat{};
    std::vector<MediaRange> ranges;
    while (!accept.empty() && ranges.size() < kMaxAcceptRanges) {
        const std::string_view part = take(&accept, ',');
        if (!part.empty()) ranges.push_back(parse_range(part));
    }
    std::stable_sort(ranges.begin(), ranges.end(), [](const MediaRange& a, const MediaRange& b) {
        return a.quality > b.quality;
    });
    bool known_type = false;
    for (const MediaRange& range : ranges) {
        OutputFormat format;
        if (range.quality <= 0.0 || !encoding_of(range.type, &format.encoding)) continue;
        known_type = true;
        if (range.as.empty()) return format;
        if (range.group != "meta.k8s.io" ||
            (range.version != "v1" && range.version != "v1beta1")) {
            continue;
        }
        format.form_version = range.version;
        if (range.as == "Table" && tables && format.encoding != Encoding::kProtobuf) {
            format.form = Form::kTable;
            return format;
        }
        if ((range.as == "PartialObjectMetadata" || range.as == "PartialObjectMetadataList") &&
            tables) {
            format.form = Form::kPartialMetadata;
            return format;
        }
    }
    return refuse(known_type ? not_acceptable_form(kAllTypes) : not_acceptable_representation());
}

Answer<Encoding> negotiate_input(std::string_view content_type) {
    const std::string type = lower(take(&content_type, ';'));
    Encoding encoding = Encoding::kJson;
    if (type.empty()) return encoding;
    // "*/*" is a range, not a type, so only the exact names count here.
    if (type.find('*') != std::string::npos || !encoding_of(type, &encoding)) {
        return refuse(unsupported_media_type(kAllTypes));
    }
    return encoding;
}

Answer<PatchType> negotiate_patch(std::string_view content_type) {
    const std::string type = lower(take(&content_type, ';'));
    if (type == "application/json-patch+json") return PatchType::kJson;
    if (type == "application/merge-patch+json") return PatchType::kMerge;
    if (type == "application/strategic-merge-patch+json") return PatchType::kStrategicMerge;
    if (type == "application/apply-patch+yaml") return PatchType::kApply;
    return refuse(
        unsupported_media_type("application/json-patch+json, application/merge-patch+json, "
                               "application/strategic-merge-patch+json, "
                               "application/apply-patch+yaml"));
}

Answer<OutputFormat> negotiate_custom_output(std::string_view accept, bool tables) {
    std::string offered;
    std::string_view rest = accept;
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        const std::string_view range = rest.substr(0, comma);
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        const bool protobuf = range.find("application/vnd.kubernetes.protobuf") != std::string_view::npos;
        if (protobuf && range.find("as=PartialObjectMetadata") == std::string_view::npos) continue;
        if (!offered.empty()) offered += ',';
        offered += range;
    }
    if (offered.empty() && !accept.empty()) return refuse(not_acceptable_representation());
    return negotiate_output(offered, tables);
}

}  // namespace sluice::registry
