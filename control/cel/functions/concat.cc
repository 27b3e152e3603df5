// Lists one after the other.
#include "control/cel/functions/concat_private.h"

#include <algorithm>
#include <utility>

namespace sluice::cel {

namespace {

// Looked into as deep as lists were put together.
class ConcatList final : public ListValue {
public:
    ConcatList(Value::ListRef a, Value::ListRef b)
        : a_(std::move(a)),
          b_(std::move(b)),
          first_(a_->size()),
          size_(first_ + b_->size()),
          depth_(std::max(a_->depth(), b_->depth()) + 1) {}
    std::size_t size() const override { return size_; }
    Result<Value> at(std::size_t index) const override {
        return index < first_ ? a_->at(index) : b_->at(index - first_);
    }
    int depth() const override { return depth_; }

private:
    Value::ListRef a_;
    Value::ListRef b_;
    std::size_t first_;
    std::size_t size_;
    int depth_;
};

}  // namespace

Value::ListRef concat_lists(Value::ListRef a, Value::ListRef b) {
    if (a->size() == 0) return b;
    if (b->size() == 0) return a;
    return std::make_shared<ConcatList>(std::move(a), std::move(b));
}

}  // namespace sluice::cel
