// Whoever looks for an option types its hyphens. The search would read them as "without this word", and two of them as an error.
const post = Worker.prototype.postMessage
const QUERY = 2
Worker.prototype.postMessage = function (message, ...rest) {
  const asked = message && message.type === QUERY && typeof message.data === "string"
  return post.call(this, asked ? { ...message, data: message.data.replace(/(^|\s)(?:--(?=\w)|-(?=\w(?!\w)))/g, "$1") } : message, ...rest)
}
