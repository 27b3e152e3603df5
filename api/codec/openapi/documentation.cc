// Links the descriptor set in and reads the comments out of it.
#include "api/codec/openapi/documentation.h"

#include <google/protobuf/descriptor.pb.h>

#include <cstddef>
#include <string>
#include <unordered_map>
#include <utility>

#include "api/base/result.h"

// The file is made by protoc during the build; its path is given by the build.
__asm__(
    ".section .rodata\n"
    ".global sluice_descriptor_set_begin\n"
    ".global sluice_descriptor_set_end\n"
    "sluice_descriptor_set_begin:\n"
    ".incbin \"" SLUICE_DESCRIPTOR_SET
    "\"\n"
    "sluice_descriptor_set_end:\n"
    ".previous\n");
extern "C" const char sluice_descriptor_set_begin[];
extern "C" const char sluice_descriptor_set_end[];

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;
using Comments = std::unordered_map<std::string, std::string>;

// Lines become one paragraph; an empty line begins the next.
std::string flow(std::string_view comment) {
    std::string text;
    bool paragraph = false;
    while (!comment.empty()) {
        const std::size_t end = comment.find('\n');
        std::string_view line = comment.substr(0, end);
        comment.remove_prefix(end == std::string_view::npos ? comment.size() : end + 1);
        while (line.starts_with(' ')) line.remove_prefix(1);
        while (line.ends_with(' ')) line.remove_suffix(1);
        if (line.empty()) {
            paragraph = !text.empty();
            continue;
        }
        if (paragraph) {
            text += "\n\n";
        } else if (!text.empty()) {
            text += ' ';
        }
        paragraph = false;
        text += line;
    }
    return text;
}

void collect(const pb::FileDescriptorProto& file, Comments* comments) {
    // A path is a chain of field numbers and indices: message_type[i], then field[j] of it.
    constexpr int kMessage = pb::FileDescriptorProto::kMessageTypeFieldNumber;
    constexpr int kField = pb::DescriptorProto::kFieldFieldNumber;
    for (const auto& location : file.source_code_info().location()) {
        if (location.leading_comments().empty() || location.path_size() < 2 ||
            location.path(0) != kMessage) {
            continue;
        }
        const pb::DescriptorProto& message = file.message_type(location.path(1));
        std::string name = file.package() + "." + message.name();
        if (location.path_size() == 4 && location.path(2) == kField) {
            name += "." + message.field(location.path(3)).name();
        } else if (location.path_size() != 2) {
            continue;
        }
        comments->emplace(std::move(name), flow(location.leading_comments()));
    }
}

const Comments& all_comments() {
    static const Comments comments = [] {
        Comments out;
        pb::FileDescriptorSet files;
        // The set is part of the program: anything wrong with it is wrong with the build.
        SLUICE_ASSERT(files.ParseFromArray(
            sluice_descriptor_set_begin,
            static_cast<int>(sluice_descriptor_set_end - sluice_descriptor_set_begin)));
        for (const pb::FileDescriptorProto& file : files.file()) collect(file, &out);
        return out;
    }();
    return comments;
}

}  // namespace

std::string_view documentation_of(std::string_view full_name) {
    const Comments& comments = all_comments();
    const auto found = comments.find(std::string(full_name));
    return found == comments.end() ? std::string_view{} : std::string_view(found->second);
}

}  // namespace sluice::codec
