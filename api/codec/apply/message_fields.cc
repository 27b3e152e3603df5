#include "api/codec/apply/message_fields.h"

#include <boost/json/value.hpp>
#include <memory>

#include "api/codec/apply/managers.h"
#include "api/codec/apply/message_values_internal.h"
#include "api/codec/json.h"
#include "api/codec/json_text.h"

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;

using Shape = ApplyType::Shape;

// fieldsV1 of an object that was not there before, straight to text.
class Writer {
public:
    explicit Writer(std::string* out) : out_(out) {}

    // in_zero: Go's zero value of the whole has this struct, so that what is always written is nobody's.
    void object(const pb::Message& message, const ApplyPlan& plan, bool in_zero, const FieldSet* ignored) {
        for (const ApplyMember& member : plan.members) {
            if (!is_given(message, member)) continue;
            if (ignored != nullptr && ignored->has(member.element)) continue;
            const FieldSet* below = ignored == nullptr ? nullptr : ignored->below(member.element);
            this->member(message, member, in_zero && member.always, below);
        }
    }

private:
    void member(const pb::Message& message, const ApplyMember& member, bool in_zero, const FieldSet* ignored) {
        const FieldPlan& field = *member.path.field;
        const bool leaf = member.shape == Shape::kScalar || member.shape == Shape::kAtomic;
        if (leaf) {
            if (!in_zero || is_filled(message, member)) name(member.key_text, "{}");
            return;
        }
        if (field.shape == FieldShape::kSingular) {
            const pb::Message* value = message_of(message, member);
            if (value == nullptr || is_hollow(*value, *member.below)) {
                // {} where a zero value has null.
                const bool differs = value != nullptr && field.pointer;
                if (!in_zero || differs) name(member.key_text, "{}");
                return;
            }
            const std::size_t start = open(member.key_text);
            if (!in_zero) name("\".\":", "{}");
            object(*value, *member.below, in_zero && !field.pointer, ignored);
            close(start, !in_zero);
            return;
        }
        entries(message, member, in_zero);
    }

    void entries(const pb::Message& message, const ApplyMember& member, bool in_zero) {
        const std::vector<Entry> items = entries_of(message, member);
        if (items.empty()) {
            if (!in_zero) name(member.key_text, "{}");
            return;
        }
        const std::size_t start = open(member.key_text);
        if (!in_zero) name("\".\":", "{}");
        for (std::size_t i = 0; i < items.size(); ++i) {
            scratch_.clear();
            append_json_string(items[i].element.to_string(), &scratch_);
            scratch_ += ':';
            const bool repeated = i + 1 < items.size() && items[i + 1].element == items[i].element;
            if (repeated) {
                // Elements of one key are owned as one.
                while (i + 1 < items.size() && items[i + 1].element == items[i].element) ++i;
                name(scratch_, "{}");
            } else if (items[i].message == nullptr || member.below == nullptr) {
                name(scratch_, "{}");
            } else {
                const std::size_t inner = open(scratch_);
                name("\".\":", "{}");
                object(*items[i].message, *member.below, false, nullptr);
                close(inner, true);
            }
        }
        close(start, !in_zero);
    }

    void name(std::string_view key, std::string_view value) {
        if (out_->back() != '{') out_->push_back(',');
        out_->append(key);
        out_->append(value);
    }

    // Returns where to cut if nothing follows.
    std::size_t open(std::string_view key) {
        const std::size_t start = out_->size();
        name(key, "{");
        return start;
    }

    void close(std::size_t start, bool owns_itself) {
        constexpr std::string_view kOnlyItself = "{\".\":{}";
        if (out_->back() == '{') {
            out_->resize(start);
        } else if (owns_itself && std::string_view(*out_).ends_with(kOnlyItself)) {
            // Nothing below: a leaf after all.
            out_->resize(out_->size() - kOnlyItself.size() + 1);
            out_->push_back('}');
        } else {
            out_->push_back('}');
        }
    }

    std::string* out_;
    std::string scratch_;
};

class Comparer {
public:
    // Either may be null: absent, or null in JSON.
    static void object(const pb::Message* from, const pb::Message* to, const ApplyPlan& plan, Comparison* out) {
        for (const ApplyMember& item : plan.members) {
            const bool in_from = from != nullptr && is_given(*from, item);
            const bool in_to = to != nullptr && is_given(*to, item);
            if (in_from || in_to) member(in_from ? from : nullptr, in_to ? to : nullptr, item, out);
        }
    }

private:
    static void note(const PathElement& element, bool in_from, bool in_to, Comparison* out) {
        (in_from ? in_to ? out->modified : out->removed : out->added).insert(element);
    }

    static void attach(const PathElement& element, Comparison&& below, Comparison* out) {
        if (!below.added.empty()) out->added.make_below(element) = std::move(below.added);
        if (!below.modified.empty()) out->modified.make_below(element) = std::move(below.modified);
        if (!below.removed.empty()) out->removed.make_below(element) = std::move(below.removed);
    }

    static void member(const pb::Message* from, const pb::Message* to, const ApplyMember& item, Comparison* out) {
        const bool both = from != nullptr && to != nullptr;
        if (item.shape == Shape::kScalar || item.shape == Shape::kAtomic) {
            if (!both || !same_leaf(*from, *to, item)) note(item.element, from != nullptr, to != nullptr, out);
            return;
        }
        Comparison below;
        if (item.path.field->shape == FieldShape::kSingular) {
            const pb::Message* a = from == nullptr ? nullptr : message_of(*from, item);
            const pb::Message* b = to == nullptr ? nullptr : message_of(*to, item);
            const auto hollow = [&](const pb::Message* value) {
                return value == nullptr || is_hollow(*value, *item.below);
            };
            if (hollow(a) && hollow(b)) {
                if (!both || (a == nullptr) != (b == nullptr)) note(item.element, from != nullptr, to != nullptr, out);
                return;
            }
            object(a, b, *item.below, &below);
        } else {
            const bool filled =
                (from != nullptr && is_filled(*from, item)) || (to != nullptr && is_filled(*to, item));
            if (both && same_bytes(*from, *to, item)) return;
            if (filled) entries(from, to, item, &below);
        }
        attach(item.element, std::move(below), out);
        if (!both) note(item.element, from != nullptr, to != nullptr, out);
    }

    using Items = std::vector<Entry>;

    static Items part(const Items& of, std::size_t begin, std::size_t end) {
        return {of.begin() + static_cast<std::ptrdiff_t>(begin), of.begin() + static_cast<std::ptrdiff_t>(end)};
    }

    static void entries(const pb::Message* from, const pb::Message* to, const ApplyMember& item, Comparison* out) {
        const Items left = from == nullptr ? Items() : entries_of(*from, item);
        const Items right = to == nullptr ? Items() : entries_of(*to, item);
        std::size_t l = 0;
        std::size_t r = 0;
        while (l < left.size() || r < right.size()) {
            const PathElement& element =
                r == right.size() || (l < left.size() && left[l].element <= right[r].element) ? left[l].element
                                                                                              : right[r].element;
            std::size_t l_end = l;
            std::size_t r_end = r;
            while (l_end < left.size() && left[l_end].element == element) ++l_end;
            while (r_end < right.size() && right[r_end].element == element) ++r_end;
            run(element, part(left, l, l_end), part(right, r, r_end), item, out);
            l = l_end;
            r = r_end;
        }
    }

    // The elements of one key on both sides; mostly one or none.
    static void run(const PathElement& element, const Items& a, const Items& b, const ApplyMember& item,
                    Comparison* out) {
        if (a.size() <= 1 && b.size() <= 1) {
            return one(element, a.empty() ? nullptr : &a.front(), b.empty() ? nullptr : &b.front(), item, out);
        }
        if (a.size() >= 2 && b.size() >= 2) {
            bool same = a.size() == b.size();
            for (std::size_t i = 0; same && i < a.size(); ++i) {
                Comparison difference;
                one(element, &a[i], &b[i], item, &difference);
                same = difference.added.empty() && difference.modified.empty() && difference.removed.empty();
            }
            if (!same) out->modified.insert(element);
        } else if (a.size() >= 2) {
            if (!b.empty()) one(element, nullptr, &b.front(), item, out);
            out->removed.insert(element);
        } else {
            if (!a.empty()) one(element, &a.front(), nullptr, item, out);
            out->added.insert(element);
        }
    }

    static void one(const PathElement& element, const Entry* a, const Entry* b, const ApplyMember& item,
                    Comparison* out) {
        const bool both = a != nullptr && b != nullptr;
        if (item.below != nullptr) {
            Comparison below;
            object(a == nullptr ? nullptr : a->message, b == nullptr ? nullptr : b->message, *item.below, &below);
            attach(element, std::move(below), out);
            if (!both) note(element, a != nullptr, b != nullptr, out);
            return;
        }
        const bool same = both && a->leaf == b->leaf &&
                          (a->message == nullptr ||
                           a->message->SerializePartialAsString() == b->message->SerializePartialAsString());
        if (!same) note(element, a != nullptr, b != nullptr, out);
    }
};

// Objects of custom kinds carry most of themselves as JSON, whose type their messages do not know.
bool is_free_form(const pb::Message& object) {
    return object.GetDescriptor()->full_name() == "sluice.api.custom.CustomObject";
}

Comparison compared_documents(const pb::Message& from, const pb::Message& to) {
    ApplySchema schema;
    auto out = compared(to_json_value(from), to_json_value(to), *to.GetDescriptor(), schema);
    // Without keyed lists below a free form, only metadata has lists whose elements could have no keys.
    return out ? std::move(*out) : Comparison();
}

}  // namespace

FieldSet skipped_at_creation(const FieldSet& ignored) {
    static const FieldSet server_fields = [] {
        FieldSet all = unowned_fields();
        // That there is metadata is nobody's, what is in it may be somebody's.
        FieldSet itself;
        itself.insert_path({"metadata"});
        return all.minus(itself);
    }();
    return server_fields.united(ignored);
}

std::string created_fields(const pb::Message& object, const FieldSet& ignored) {
    return created_fields(object, ignored, skipped_at_creation(ignored));
}

std::string created_fields(const pb::Message& object, const FieldSet& ignored, const FieldSet& skipped) {
    if (is_free_form(object)) {
        const std::unique_ptr<pb::Message> nothing(object.New());
        const Comparison change = owned_change(compared_documents(*nothing, object), ignored);
        return change.added.united(change.modified).to_json();
    }
    std::string out = "{";
    Writer(&out).object(object, apply_plan_of(*object.GetDescriptor()), true, &skipped);
    out += '}';
    return out;
}

Comparison compared(const pb::Message& from, const pb::Message& to) {
    if (is_free_form(to)) return compared_documents(from, to);
    Comparison out;
    Comparer::object(&from, &to, apply_plan_of(*from.GetDescriptor()), &out);
    return out;
}

}  // namespace sluice::codec
