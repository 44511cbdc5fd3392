//! Models with their relations in them: what SeaORM saves and loads as a whole is the tenant's own, join
//! tables included.

use cloacina::data::sea_orm::ActiveValue::Set;
use cloacina::data::sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Index, Table};
use cloacina::data::sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder,
};
use cloacina::data::{Data, DataError, Migration, TenantDb, sea_orm};

use crate::support::in_each_placement;

// What the derives of SeaORM make of them has to be as public as they are.
#[allow(unreachable_pub)]
mod author {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "author")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
        #[sea_orm(has_many)]
        pub books: HasMany<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[allow(unreachable_pub)]
mod book {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "book")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub author_id: i32,
        pub title: String,
        #[sea_orm(belongs_to, from = "author_id", to = "id")]
        pub author: BelongsTo<super::author::Entity>,
        #[sea_orm(has_many, via = "book_tag")]
        pub tags: HasMany<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[allow(unreachable_pub)]
mod tag {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub word: String,
        #[sea_orm(has_many, via = "book_tag")]
        pub books: HasMany<super::book::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[allow(unreachable_pub)]
mod book_tag {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "book_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub book_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_id: i32,
        #[sea_orm(belongs_to, from = "book_id", to = "id")]
        pub book: BelongsTo<super::book::Entity>,
        #[sea_orm(belongs_to, from = "tag_id", to = "id")]
        pub tag: BelongsTo<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

fn data() -> Data {
    let id = || ColumnDef::new("id").integer().not_null().auto_increment().primary_key().to_owned();
    let number = |name: &'static str| ColumnDef::new(name).integer().not_null().to_owned();
    let text = |name: &'static str| ColumnDef::new(name).text().not_null().to_owned();
    let key = |table: &'static str, column: &'static str, to: &'static str| {
        ForeignKey::create().from(table, column).to(to, "id").on_delete(ForeignKeyAction::Cascade).to_owned()
    };
    Data::builder()
        .tenant(author::Entity)
        .tenant(book::Entity)
        .tenant(tag::Entity)
        .tenant(book_tag::Entity)
        .migration(
            Migration::new(1, "a library")
                .create(Table::create().table("author").col(id()).col(text("name")).to_owned())
                .create(
                    Table::create()
                        .table("book")
                        .col(id())
                        .col(number("author_id"))
                        .col(text("title"))
                        .foreign_key(&mut key("book", "author_id", "author"))
                        .to_owned(),
                )
                .create(Table::create().table("tag").col(id()).col(text("word")).to_owned())
                .create(
                    Table::create()
                        .table("book_tag")
                        .col(number("book_id"))
                        .col(number("tag_id"))
                        .primary_key(Index::create().col("book_id").col("tag_id"))
                        .foreign_key(&mut key("book_tag", "book_id", "book"))
                        .foreign_key(&mut key("book_tag", "tag_id", "tag"))
                        .to_owned(),
                ),
        )
        .build()
        .unwrap()
}

/// An author with two books and their tags, saved as one model.
async fn write(db: &TenantDb) {
    let mark = db.tenant().to_owned();
    db.run_as(async |tx| {
        let shared = tag::ActiveModel::builder().set_word(format!("{mark} both")).save(tx).await?;
        author::ActiveModel::builder()
            .set_name(format!("{mark} author"))
            .add_book(
                book::ActiveModel::builder()
                    .set_title(format!("{mark} first"))
                    .add_tag(shared.clone())
                    .add_tag(tag::ActiveModel::builder().set_word(format!("{mark} first"))),
            )
            .add_book(book::ActiveModel::builder().set_title(format!("{mark} second")).add_tag(shared))
            .save(tx)
            .await?;
        Ok::<_, sea_orm::DbErr>(())
    })
    .await
    .unwrap();
}

/// All that is loaded from the authors, and from the tags.
async fn read(db: &TenantDb) -> (Vec<author::ModelEx>, Vec<tag::ModelEx>) {
    db.read_as(async |tx| {
        let authors = author::Entity::load()
            .with((book::Entity, tag::Entity))
            .order_by_asc(author::Column::Id)
            .all(tx)
            .await?;
        let tags = tag::Entity::load().with(book::Entity).order_by_asc(tag::Column::Id).all(tx).await?;
        Ok::<_, DataError>((authors, tags))
    })
    .await
    .unwrap()
}

in_each_placement! {
    async fn what_is_saved_as_a_whole_is_loaded_as_a_whole_and_is_the_tenants(place: Placement) {
        let two = place.two(&data()).await;
        // The same ids in both, as far as the placement has them.
        write(&two.acme).await;
        write(&two.globex).await;
        for db in [&two.acme, &two.globex] {
            let (authors, tags) = read(db).await;
            let [author] = &authors[..] else { panic!("{authors:?}") };
            let titles: Vec<_> = author.books.iter().map(|book| &book.title[..]).collect();
            let words: Vec<_> = author.books.iter().flat_map(|book| book.tags.iter()).map(|tag| &tag.word[..]).collect();
            assert_eq!((titles.len(), words.len(), tags.len()), (2, 3, 2), "{author:?}");
            let of_tags = tags.iter().flat_map(|tag| tag.books.iter()).map(|book| &book.title[..]);
            let texts = titles.into_iter().chain(words).chain(of_tags).chain([&author.name[..]]);
            assert!(texts.clone().all(|text| text.starts_with(db.tenant())), "{:?}", texts.collect::<Vec<_>>());
        }

        let before = read(&two.globex).await;
        two.acme
            .run_as(async |tx| {
                let first = book::Entity::find().order_by_asc(book::Column::Id).one(tx).await?.unwrap();
                let related = first.find_related(tag::Entity).all(tx).await?;
                assert_eq!(related.len(), 2);
                let mut author = author::Entity::load().with(book::Entity).one(tx).await?.unwrap().into_active_model();
                author.name = Set("acme renamed".to_owned());
                author.save(tx).await?;
                first.delete(tx).await?;
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        assert_eq!(read(&two.globex).await, before);
        let (authors, _) = read(&two.acme).await;
        assert_eq!((&authors[0].name[..], authors[0].books.len()), ("acme renamed", 1));
        let links = two.acme.read_as(async |tx| book_tag::Entity::find().filter(book_tag::Column::TagId.gt(0)).count(tx).await);
        assert_eq!(links.await.unwrap(), 1, "links to what was deleted are gone, and no others");
    }
}
