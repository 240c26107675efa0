import shop.web

print("worked")
